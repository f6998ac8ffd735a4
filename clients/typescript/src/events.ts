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

type Picture = Omit<Run, "status"> & { status: RunStatus };

/**
 * The run after the event. Pure: neither is changed, and what the event does not touch is the same object as before.
 * For an event of an unknown type the run itself is returned.
 */
export function applyEvent<W extends WorkflowId>(run: Run<W>, event: StreamEvent<W>): Run<W> {
  if (event.type === "run") return event.run;
  const change = changeOf(run, event);
  return change ? { ...run, ...change } : run;
}

function changeOf(run: Picture, event: Exclude<StreamEvent, RunSnapshot>): Partial<Picture> | undefined {
  switch (event.type) {
    case "step:start":
      return { steps: withStep(run.steps, event, { status: "running", startedAt: event.at }) };
    case "step:retry":
      return { steps: withStep(run.steps, event, { status: "retrying", error: event.error }) };
    case "step:complete":
      return {
        steps: withStep(run.steps, event, {
          status: "completed",
          result: event.result,
          error: null,
          endedAt: event.at,
        }),
      };
    case "step:failed":
      return {
        steps: withStep(run.steps, event, { status: "failed", error: event.error, endedAt: event.at }),
      };
    case "run:suspended":
      return { status: "suspended", wakeAt: event.wakeAt, waits: event.waits };
    case "run:resumed":
      return { ...going, status: "running", startedAt: run.startedAt ?? event.at };
    case "run:retrying":
      return event.error
        ? { status: "suspended", wakeAt: event.wakeAt }
        : { ...going, status: "queued", attempt: event.attempt, error: null, output: null, endedAt: null };
    case "run:paused":
      return { status: "paused", pauseReason: event.reason, pauseDetail: event.detail };
    case "run:continued":
      return { ...going, steps: [], stepsOmitted: 0 };
    case "execution:complete":
      return { ...ended(event.at, run.steps), status: "completed", output: event.data };
    case "execution:failed":
      return { ...ended(event.at, run.steps), status: "failed", error: event.error };
    case "execution:cancelled":
      return { ...ended(event.at, run.steps), status: "cancelled" };
    default:
      return undefined;
  }
}

const going = { wakeAt: null, waits: [] as Wait[], pauseReason: null, pauseDetail: "" };

function ended(at: string, steps: Step[]): Partial<Picture> {
  return { ...going, endedAt: at, steps: steps.filter((step) => step.status !== "waiting") };
}

function withStep(steps: Step[], event: OfStep<string>, change: Partial<Step>): Step[] {
  const before = steps.find((step) => step.key === event.key);
  const step: Step = {
    key: event.key,
    name: event.stepName,
    kind: "step",
    status: "running",
    result: null,
    error: null,
    startedAt: null,
    endedAt: null,
    ...before,
    ...change,
    attempts: event.attempt,
  };
  return before ? steps.map((each) => (each === before ? step : each)) : [...steps, step];
}
