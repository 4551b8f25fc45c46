import type { Handler } from '../handler.ts';
import { type HttpOptions, httpExecutor } from './http.ts';
import { type ScriptOptions, scriptExecutor } from './script.ts';

/** What each built-in executor may be told. */
export interface BuiltInOptions {
  script: ScriptOptions;
  http: HttpOptions;
}

/** The executors an agent may enable, one line a kind. */
export const BUILT_IN: { [K in keyof BuiltInOptions]: (options: BuiltInOptions[K]) => Handler } = {
  script: scriptExecutor,
  http: httpExecutor,
};

export const isBuiltIn = (taskType: string): boolean => Object.hasOwn(BUILT_IN, taskType);
