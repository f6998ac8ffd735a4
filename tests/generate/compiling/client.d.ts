// As much of @stepflow/client as the generated types are tried with: its Register, and what it makes of it.

export interface Register {}

/** A name that the app under test has too. */
export interface Run {
  readonly ofTheClient: true;
}

type Workflows = Register extends { workflows: infer W } ? W : Record<string, { input: unknown; output: unknown }>;
type Events = Register extends { events: infer E } ? E : Record<string, unknown>;
type InputOf<W extends keyof Workflows> = Workflows[W] extends { input: infer I } ? I : never;
type OutputOf<W extends keyof Workflows> = Workflows[W] extends { output: infer O } ? O : never;

export declare class StepflowClient {
  trigger<W extends keyof Workflows>(
    id: W,
    ...input: null extends InputOf<W> ? [input?: InputOf<W>] : [input: InputOf<W>]
  ): Promise<{ runId: string }>;
  notify<E extends keyof Events>(id: E, payload: Events[E]): Promise<void>;
}

export declare function useRun<W extends keyof Workflows>(id: W, runId: string): { output: OutputOf<W> };
