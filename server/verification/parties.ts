/** Who could have conspired with whom: an agent, who enrolled it, whose it is. */
export interface Party {
  agent_id: string;
  enrollment_token_id: string;
  owner: string;
}

/** What no two that check each other may have in common. */
export type Apart = 'owner' | 'enrolment';

/** What a verification remembers of who has had a run of its task. */
export const namesOf = ({ agent_id, enrollment_token_id, owner }: Party): string[] => [
  `agent:${agent_id}`,
  `enrolment:${enrollment_token_id}`,
  `owner:${owner}`,
];

/** What tells one from others that are to be apart from it. */
export const nameOf = ({ enrollment_token_id, owner }: Party, apart: Apart): string =>
  apart === 'owner' ? `owner:${owner}` : `enrolment:${enrollment_token_id}`;

/** The same in SQL, of a row of `agents`; the tables have to agree with the process. */
export const NAMES = (a: string): string =>
  `array['agent:' || ${a}.agent_id, 'enrolment:' || ${a}.enrollment_token_id, 'owner:' || ${a}.owner]`;
export const NAME = (a: string, apart: string): string =>
  `case ${apart} when 'owner' then 'owner:' || ${a}.owner else 'enrolment:' || ${a}.enrollment_token_id end`;
