DROP INDEX "tasks_batch_id";--> statement-breakpoint
ALTER TABLE "batches" ADD COLUMN "first_task_id" text collate "C";--> statement-breakpoint
ALTER TABLE "batches" ADD COLUMN "last_task_id" text collate "C";--> statement-breakpoint
-- Batches that were there before find their tasks, too.
update batches b set first_task_id = t.first, last_task_id = t.last
from (select batch_id, min(task_id) as first, max(task_id) as last from tasks where batch_id is not null group by 1) t where t.batch_id = b.batch_id;
