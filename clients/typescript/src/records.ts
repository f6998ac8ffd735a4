// Records: runs, steps and answers as they travel. Times are RFC 3339 in UTC; a newer server may send more fields.

import type { OutputOf, RunId, WorkflowId } from "./register.js";

/** Where a run is in its life. */
export type RunStatus = "queued" | "running" | "suspended" | "paused" | "completed" | "failed" | "cancelled";

export type StepKind = "step" | "sleep" | "event" | "child";

export type StepStatus = "running" | "retrying" | "completed" | "failed" | "waiting" | "cancelled";

/** A recorded failure. Only secret keys see its traceback. */
export interface Failure {
  type: string;
  message: string;
  traceback?: string;
}

/** An event that a run waits for. */
export interface Wait {
  eventId: string;
  name: string;
  until: string | null;
}

/** One checkpointed thing that a run did. */
export interface Step {
  key: string;
  name: string;
  kind: StepKind;
  status: StepStatus;
  result: unknown;
  error: Failure | null;
  attempts: number;
  startedAt: string | null;
  endedAt: string | null;
}

interface RunHead {
  id: string;
  status: RunStatus;
  error: Failure | null;
  attempt: number;
  createdAt: string;
  startedAt: string | null;
  endedAt: string | null;
  wakeAt: string | null;
  waits: Wait[];
  tags: Record<string, string>;
  parentId: string | null;
  queue: string;
  priority: number;
  version: string | null;
  pauseReason: string | null;
  pauseDetail: string;
}

/** A run as it is listed: without input, output and steps. */
export interface RunItem extends RunHead {
  workflowId: string;
}

interface RunBody<W extends WorkflowId> extends RunHead {
  workflowId: W;
  input: unknown;
  /** Null until there is one. */
  output: OutputOf<W> | null;
  steps: Step[];
  stepsOmitted: number;
}

/**
 * A run with its last 200 steps; `stepsOmitted` counts those before them. Its `workflowId` tells which output it has.
 * `input` is whatever was sent: it need not be what the workflow takes by now.
 */
export type Run<W extends WorkflowId = WorkflowId> = W extends W ? RunBody<W> : never;

/** What stands in place of a value whose JSON is longer than 64 KiB. Ask for the run with `full: true` to get it. */
export interface Omitted {
  omitted: number;
}

/** The answer to a trigger. `created` is false if the same id or key had been used before. */
export interface TriggeredRun<W extends WorkflowId = WorkflowId> {
  runId: RunId<W>;
  publicAccessToken: string | null;
  expiresAt: string | null;
  created: boolean;
}

/** `woken` runs waited for the event when it came. */
export interface Notified {
  id: string;
  woken: number;
}

/** The answer to an operation: where the run is now. */
export interface RunState {
  runId: string;
  status: RunStatus;
}

/** The right to watch one run, until `expiresAt`. */
export interface RunToken {
  publicAccessToken: string;
  expiresAt: string;
}

/** One page; `nextCursor` is null on the last one. */
export interface Page<Item> {
  items: Item[];
  nextCursor: string | null;
}

/** `ok`, or else the server can't do its work. `version` and `storage` are told to secret keys only. */
export interface Health {
  status: string;
  version?: string;
  storage?: string;
}

/** A registered workflow, with the JSON Schema of what it takes and gives. */
export interface WorkflowInfo {
  id: string;
  queue: string;
  version: string | null;
  description: string;
  inputSchema: Record<string, unknown> | null;
  outputSchema: Record<string, unknown> | null;
}

/** Whether the run has come to its end. */
export function isEnded(run: { status: string }): boolean {
  return ["completed", "failed", "cancelled"].includes(run.status);
}

/** Whether the value was left out for its size. */
export function isOmitted(value: unknown): value is Omitted {
  const omitted = value as Partial<Omitted> | null | undefined;
  return typeof omitted?.omitted === "number" && Object.keys(omitted).length === 1;
}
