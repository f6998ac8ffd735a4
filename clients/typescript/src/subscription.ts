// Subscription: a run's stream as callbacks, with the picture of the run that it adds up to.

import { applyEvent, type StreamEvent } from "./events.js";
import type { FollowOptions } from "./follow.js";
import { whyNoResult } from "./outcome.js";
import { isEnded, type Run, type Step } from "./records.js";
import type { OutputOf, WorkflowId } from "./register.js";

/** What you want to be told of. A handler that throws does no harm to the others: its error is thrown where nobody catches it. */
export interface RunHandlers<W extends WorkflowId = WorkflowId> {
  /** The run as it is, at first and after every change. */
  onUpdate?: ((run: Run<W>) => void) | undefined;
  /** Each completed step once, those that were complete before included (of them, the last 200). */
  onStepComplete?: ((step: Step) => void) | undefined;
  /** The run's result. Nothing follows. */
  onComplete?: ((result: OutputOf<W>) => void) | undefined;
  /** The run failed (`RunFailedError`) or was cancelled (`RunCancelledError`), or it can't be followed any more. Nothing follows. */
  onError?: ((error: Error) => void) | undefined;
  /** Every event of the stream, as it is. */
  onEvent?: ((event: StreamEvent<W>) => void) | undefined;
}

export type SubscribeOptions<W extends WorkflowId = WorkflowId> = RunHandlers<W> &
  Omit<FollowOptions, "lastEventId" | "runId">;

/** Tells the handlers of the events, until the stream ends or `signal` is aborted: from then on, of nothing. */
export async function subscribe<W extends WorkflowId>(
  events: AsyncIterable<StreamEvent<W>>,
  { onUpdate, onStepComplete, onComplete, onError, onEvent }: RunHandlers<W>,
  signal: AbortSignal,
): Promise<void> {
  const told = new Set<string>();
  let run: Run<W> | undefined;

  const tell = <T>(handler: ((value: T) => void) | undefined, value: T): void => {
    if (signal.aborted) return;
    try {
      handler?.(value);
    } catch (error) {
      report(error);
    }
  };

  const tellOf = (changed: Run<W>): void => {
    tell(onUpdate, changed);
    for (const step of changed.steps) {
      if (step.status !== "completed" || told.has(step.key)) continue;
      told.add(step.key);
      tell(onStepComplete, step);
    }
  };

  const tellEnd = (ended: Run<W>): void => {
    const reason = whyNoResult(ended);
    if (reason) tell(onError, reason);
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-assertion -- it is needed where Register is augmented
    else tell(onComplete, ended.output as OutputOf<W>);
  };

  try {
    for await (const event of events) {
      const before = run;
      tell(onEvent, event);
      run = event.type === "run" ? event.run : before && applyEvent(before, event);
      if (event.type === "run:continued") told.clear();
      if (!run || run === before) continue;
      tellOf(run);
      if (isEnded(run) && !(before && isEnded(before))) tellEnd(run);
    }
  } catch (error) {
    // Where nobody listens for that, it is thrown where nobody catches it.
    tell(onError ?? report, error instanceof Error ? error : new Error(String(error)));
  }
}

function report(error: unknown): void {
  setTimeout(() => {
    throw error;
  });
}
