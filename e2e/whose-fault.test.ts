import { getAgent } from '@muster/shared/contract/agents';
import type * as protocol from '@muster/shared/contract/dispatch';
import { expect, test } from 'vitest';
import { startNetwork } from './fixtures/network.ts';

const error = (fault: 'agent' | 'task'): NonNullable<protocol.Result['error']> => ({
  message: 'it took too long',
  fault,
});

test('an agent cannot put the blame for a timeout on the task, as it can for a failure', async () => {
  const network = await startNetwork();
  const trustAfter = async (outcome: 'TIMED_OUT' | 'FAILED', fault: 'agent' | 'task') => {
    const agent = await network.rawAgent();
    await network.submit({ task_type: 'work', input_data: null, max_retries: 0 });
    await agent.report(await agent.take(), { outcome, error: error(fault) });
    await agent.leave();
    return (await network.admin(getAgent, { params: { agent_id: agent.agentId } })).trust_score;
  };
  const blamed = await trustAfter('TIMED_OUT', 'agent');
  expect(blamed).toBeLessThan(0.5);
  expect(await trustAfter('TIMED_OUT', 'task')).toBeCloseTo(blamed, 5);
  expect(await trustAfter('FAILED', 'agent')).toBeCloseTo(blamed, 5);
  expect(await trustAfter('FAILED', 'task')).toBe(0.5);
});
