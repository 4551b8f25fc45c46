ALTER TABLE "replicas" DROP CONSTRAINT "replicas_kind";--> statement-breakpoint
ALTER TABLE "replicas" ADD COLUMN "compares" bigint[];--> statement-breakpoint
ALTER TABLE "replicas" ADD CONSTRAINT "replicas_compares" CHECK (("replicas"."kind" = 'checker') = ("replicas"."compares" is not null));--> statement-breakpoint
ALTER TABLE "replicas" ADD CONSTRAINT "replicas_kind" CHECK ("replicas"."kind" in ('replica', 'judge', 'audit', 'look_back', 'checker', 'canary'));