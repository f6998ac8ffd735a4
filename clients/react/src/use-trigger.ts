// useTrigger: starts runs of a workflow.

import { useCallback, useMemo } from "react";
import type {
  InputArguments,
  RequestOptions,
  TriggeredRun,
  TriggerOptions,
  WorkflowId,
} from "@stepflow/client";
import { useStepflowClient } from "./provider.js";
import { useAttempt } from "./use-attempt.js";

export interface TriggerState<W extends WorkflowId = WorkflowId> {
  /** Start a run; resolves when it is durable, rejects if it could not be started (`error` tells it, too). */
  trigger: (...input: InputArguments<W, TriggerOptions & RequestOptions>) => Promise<TriggeredRun<W>>;
  /** Whether the latest trigger is on its way. */
  isTriggering: boolean;
  /** The run that was started last; what the other hooks take. */
  run: TriggeredRun<W> | undefined;
  error: Error | undefined;
  /** Forget `run` and `error`. The run goes on. */
  reset: () => void;
}

/**
 * Starts runs of the workflow. What you call in an event handler need not be caught: then catch it, or look at `error`. Two calls are
 * two runs: disable the button while `isTriggering`, or give an `idempotencyKey`.
 */
export function useTrigger<W extends WorkflowId>(workflowId: W): TriggerState<W> {
  const client = useStepflowClient();
  const [{ isPending, data, error }, begin, reset] = useAttempt<TriggeredRun<W>>();
  const trigger = useCallback(
    (...input: InputArguments<W, TriggerOptions & RequestOptions>) =>
      handled(begin(client.trigger(workflowId, ...input))),
    [client, workflowId, begin],
  );
  return useMemo(
    () => ({ trigger, isTriggering: isPending, run: data, error, reset }),
    [trigger, isPending, data, error, reset],
  );
}

/** The same promise; that nobody catches it is no accident, where a state tells of the error. */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
