// Events: what a run's stream tells, and what each means for the picture of the run that one has.

import type { Failure, Run, RunStatus, Step, Wait } from "./records.js";
import type { OutputOf, WorkflowId } from "./register.js";

interface Told<Type extends string> {
  type: Type;
  runId: string;
  at: string;
}

interface OfStep<Type extends string> extends Told<Type> {
  stepName: string;
  key: string;
  attempt: number;
}

/** The whole run as it is now. `reset`: what you knew is void. */
export interface RunSnapshot<W extends WorkflowId = WorkflowId> extends Told<"run"> {
  run: Run<W>;
  reset: boolean;
}

export interface StepComplete extends OfStep<"step:complete"> {
  result: unknown;
}

export interface StepFailed extends OfStep<"step:failed"> {
  error: Failure | null;
}

/** The run waits, until `wakeAt` or for one of these events. */
export interface RunSuspended extends Told<"run:suspended"> {
  wakeAt: string | null;
  waits: Wait[];
}

/** The run goes on, or begins. `takeover`: its former worker was lost. */
export interface RunResumed extends Told<"run:resumed"> {
  takeover: boolean;
}

/** With an `error`, `attempt` failed and the run begins again at `wakeAt`; without one, it is the attempt that begins. */
export interface RunRetrying extends Told<"run:retrying"> {
  attempt: number;
  error: Failure | null;
  wakeAt: string | null;
}

export interface RunPaused extends Told<"run:paused"> {
  reason: string;
  detail: string;
}

/** The run began anew with another input: its steps so far are gone. */
export interface RunContinued extends Told<"run:continued"> {
  generation: number;
}

/** The run was told to end, and cleans up. */
export type RunCancelling = Told<"run:cancelling">;

export interface ExecutionComplete<W extends WorkflowId = WorkflowId> extends Told<"execution:complete"> {
  data: OutputOf<W>;
}

export interface ExecutionFailed extends Told<"execution:failed"> {
  error: Failure | null;
}

export type ExecutionCancelled = Told<"execution:cancelled">;

/** Transient: told at most once, and only while somebody watches. */
export type StepStart = OfStep<"step:start">;

/** Transient: `attempt` failed, the next one begins at `wakeAt`. */
export interface StepRetry extends OfStep<"step:retry"> {
  error: Failure | null;
  wakeAt: string | null;
}

/** Transient: a line that the workflow wrote. */
export interface Log extends Told<"log"> {
  level: string;
  message: string;
  fields: Record<string, unknown>;
}

/**
 * What a stream tells. Journal events come in order, each exactly once; `step:start`, `step:retry` and `log` are best effort. A newer
 * server may tell more: leave alone what you don't know.
 */
export type StreamEvent<W extends WorkflowId = WorkflowId> =
  | RunSnapshot<W>
  | StepComplete
  | StepFailed
  | RunSuspended
  | RunResumed
  | RunRetrying
  | RunPaused
  | RunContinued
  | RunCancelling
  | ExecutionComplete<W>
  | ExecutionFailed
  | ExecutionCancelled
  | StepStart
  | StepRetry
  | Log;

/**
 * The run after the event. Pure: neither is changed, and what the event does not touch is the same object as before.
 * For an event of an unknown type the run itself is returned.
 */
export function applyEvent<W extends WorkflowId>(run: Run<W>, event: StreamEvent<W>): Run<W> {
  if (event.type === "run") return event.run;
  const change = changeOf(run, event);
  return change ? { ...run, ...change } : run;
}

type Picture = Omit<Run, "status"> & { status: RunStatus };
type Change = Partial<Picture>;

function changeOf(run: Picture, event: Exclude<StreamEvent, RunSnapshot>): Change | undefined {
  const { at } = event;
  switch (event.type) {
    case "step:start":
      return stepped(run, event, { status: "running", startedAt: at });
    case "step:retry":
      return stepped(run, event, { status: "retrying", error: event.error });
    case "step:complete":
      return stepped(run, event, { status: "completed", result: event.result, error: null, endedAt: at });
    case "step:failed":
      return stepped(run, event, { status: "failed", error: event.error, endedAt: at });
    case "run:suspended":
      return waiting(run.steps, event.waits, { status: "suspended", wakeAt: event.wakeAt });
    case "run:resumed":
      return going(run.steps, { status: "running", startedAt: run.startedAt ?? at });
    case "run:retrying":
      return event.error ? { status: "suspended", wakeAt: event.wakeAt } : again(run.steps, event.attempt);
    case "run:paused":
      return { status: "paused", pauseReason: event.reason, pauseDetail: event.detail };
    case "run:continued":
      return going([], { stepsOmitted: 0 });
    case "execution:complete":
      return going(run.steps, { status: "completed", output: event.data, endedAt: at });
    case "execution:failed":
      return going(run.steps, { status: "failed", error: event.error, endedAt: at });
    case "execution:cancelled":
      return going(run.steps, { status: "cancelled", endedAt: at });
    default:
      return undefined;
  }
}

/** It begins anew; what succeeded in it is not done again. */
function again(steps: Step[], attempt: number): Change {
  const succeeded = steps.filter(({ status }) => status === "completed");
  return going(succeeded, { status: "queued", attempt, error: null, output: null, endedAt: null });
}

/** It waits for nothing, and nothing holds it. */
function going(steps: Step[], change: Change): Change {
  return waiting(steps, [], { wakeAt: null, pauseReason: null, pauseDetail: "", ...change });
}

/** It waits for these events. As in a snapshot, each is a step as well, the last ones; children are steps already. */
function waiting(steps: Step[], waits: Wait[], change: Change): Change {
  const others = steps.filter(({ status }) => status !== "waiting");
  const awaited = waits.filter(({ eventId }) => !eventId.startsWith("run/"));
  const added = awaited.map(({ eventId, name }): Step => ({
    ...BLANK,
    key: `${eventId}~waiting`,
    name: name || eventId,
    kind: "event",
    status: "waiting",
  }));
  return { ...change, waits, steps: [...others, ...added] };
}

function stepped(
  { steps }: Picture,
  { key, stepName: name, attempt: attempts }: OfStep<string>,
  change: Partial<Step>,
): Change {
  const known = new Map(steps.map((step) => [step.key, step]));
  known.set(key, { ...BLANK, key, name, ...known.get(key), ...change, attempts });
  return { steps: [...known.values()] };
}

const BLANK = {
  kind: "step",
  status: "running",
  result: null,
  error: null,
  attempts: 1,
  startedAt: null,
  endedAt: null,
} as const;
