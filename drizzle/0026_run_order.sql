-- Locked at once as the drop needs it: else a statement that has read runs and is to write them waits for the index that is made, the drop waits for it, and one of them fails.
LOCK TABLE "runs" IN ACCESS EXCLUSIVE MODE;--> statement-breakpoint
CREATE INDEX "runs_task" ON "runs" USING btree ("task_id","fence");--> statement-breakpoint
DROP INDEX "runs_task_id";
