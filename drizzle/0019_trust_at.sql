-- What is known of agents per capability as it has faded to a moment: half of it after 30 days (server/trust/parameters.ts, half_life_ms; capped, for Postgres
-- refuses what is too small to be told from zero). Two rows, to be summed: the filter on an agent reaches both tables, as long as the moment is a column or a
-- constant. What was said of all an agent can do (`*`) is where it stands only while it is out.
create function trust_at(moment timestamptz) returns table (agent_id text, capability text, dependable float8, undependable float8, completed int, failed int,
  timed_out int, lost int, "right" float8, wrong float8, standing text, quarantined_until timestamptz, updated_at timestamptz)
language sql stable parallel safe as $$
select t.agent_id, t.capability,
  case when t.dependable > 1e-100 then t.dependable * t.faded else 0 end, case when t.undependable > 1e-100 then t.undependable * t.faded else 0 end,
  t.completed, t.failed, t.timed_out, t.lost, 0, 0, null, null, t.updated_at
from (select *, exp(greatest(-300, -greatest(date_part('epoch', moment - trust.updated_at), 0) * (ln(2::float8) / 2592000))) as faded from trust) t
union all
select i.agent_id, i.capability, 0, 0, 0, 0, 0, 0,
  case when i."right" > 1e-100 then i."right" * i.faded else 0 end, case when i.wrong > 1e-100 then i.wrong * i.faded else 0 end,
  case when i.capability <> '*' or i.standing in ('QUARANTINED', 'BANNED') then i.standing end, i.quarantined_until, i.updated_at
from (select *, exp(greatest(-300, -greatest(date_part('epoch', moment - integrity.checked_at), 0) * (ln(2::float8) / 2592000))) as faded from integrity) i
$$;
