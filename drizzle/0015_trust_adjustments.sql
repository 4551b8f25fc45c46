CREATE TABLE "trust_adjustments" (
	"agent_id" text collate "C" NOT NULL,
	"capability" text NOT NULL,
	"fold_seq" bigint NOT NULL,
	"delta" double precision NOT NULL,
	"dependable" double precision NOT NULL,
	"undependable" double precision NOT NULL,
	"reason" text NOT NULL,
	"actor" text NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "trust_adjustments_agent_id_capability_fold_seq_pk" PRIMARY KEY("agent_id","capability","fold_seq")
);
