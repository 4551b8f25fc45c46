/** The part of jstat that is used; the package has no types of its own. */
declare module 'jstat' {
  const jstat: {
    jStat: {
      beta: {
        inv(probability: number, alpha: number, beta: number): number;
        cdf(x: number, alpha: number, beta: number): number;
      };
    };
  };
  export default jstat;
}
