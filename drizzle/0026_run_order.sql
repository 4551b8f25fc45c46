-- Made before the other goes, so that reads have one of them all the while: only writes wait.
CREATE INDEX "runs_task" ON "runs" USING btree ("task_id","fence");--> statement-breakpoint
DROP INDEX "runs_task_id";
