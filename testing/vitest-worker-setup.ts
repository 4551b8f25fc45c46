// A worker whose run was killed would go on with its test file: nobody is left to hear how it ends.
process.once('disconnect', () => process.exit(1));
