// Subscription: a run's stream as callbacks, with the picture of the run that it adds up to.

import { RunCancelledError, RunFailedError } from "./errors.js";
import { applyEvent, type StreamEvent } from "./events.js";
import type { FollowOptions } from "./follow.js";
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
  handlers: RunHandlers<W>,
  signal: AbortSignal,
): Promise<void> {
  const picture = new Picture<W>(handlers, signal);
  try {
    for await (const event of events) picture.take(event);
  } catch (error) {
    if (!signal.aborted) picture.fail(error);
  }
}

class Picture<W extends WorkflowId> {
  private run: Run<W> | undefined;
  private readonly told = new Set<string>();

  constructor(
    private readonly handlers: RunHandlers<W>,
    private readonly signal: AbortSignal,
  ) {}

  take(event: StreamEvent<W>): void {
    const { onEvent, onUpdate } = this.handlers;
    const before = this.run;
    this.tell(onEvent, event);
    if (event.type === "run") this.run = event.run;
    else if (before) this.run = applyEvent(before, event);
    if (event.type === "run:continued") this.told.clear();
    if (!this.run || this.run === before) return;
    this.tell(onUpdate, this.run);
    for (const step of this.run.steps) this.takeStep(step);
    if (isEnded(this.run) && !(before && isEnded(before))) this.end(this.run);
  }

  /** The stream failed. Where nobody listens for that, it is thrown where nobody catches it. */
  fail(error: unknown): void {
    const { onError = report } = this.handlers;
    this.tell(onError, error instanceof Error ? error : new Error(String(error)));
  }

  private takeStep(step: Step): void {
    if (step.status !== "completed" || this.told.has(step.key)) return;
    this.told.add(step.key);
    this.tell(this.handlers.onStepComplete, step);
  }

  private end(run: Run<W>): void {
    const { onComplete, onError } = this.handlers;
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-assertion -- it is needed where Register is augmented
    if (run.status === "completed") this.tell(onComplete, run.output as OutputOf<W>);
    else if (run.status === "failed") this.tell(onError, new RunFailedError(run.id, run.error));
    else this.tell(onError, new RunCancelledError(run.id));
  }

  private tell<T>(handler: ((value: T) => void) | undefined, value: T): void {
    if (!handler || this.signal.aborted) return;
    try {
      handler(value);
    } catch (error) {
      report(error);
    }
  }
}

function report(error: unknown): void {
  setTimeout(() => {
    throw error;
  });
}
