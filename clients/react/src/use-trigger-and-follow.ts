// useTriggerAndFollow: starts a run of a workflow, and is that run from then on.

import { useMemo } from "react";
import type { TriggeredRun, WorkflowId } from "@stepflow/client";
import type { RunState } from "./run-state.js";
import { useNamedRun } from "./use-run.js";
import { useTrigger, type TriggerState } from "./use-trigger.js";

/** How the latest run goes, and what `useTrigger` gives beside it. */
export type TriggeredState<W extends WorkflowId = WorkflowId> = RunState<W> &
  Pick<TriggerState<W>, "trigger" | "isTriggering" | "reset"> & {
    /** The run that was started last. */
    triggered: TriggeredRun<W> | undefined;
    /** Why it could not be started. */
    triggerError: Error | undefined;
  };

/** Starts runs of the workflow, and follows the one that was started last. Its status is `idle` until there is one. */
export function useTriggerAndFollow<W extends WorkflowId>(workflowId: W): TriggeredState<W> {
  const { trigger, isTriggering, run: triggered, error: triggerError, reset } = useTrigger(workflowId);
  const state = useNamedRun<W>(triggered?.runId, {});
  return useMemo(
    () => ({ ...state, trigger, isTriggering, triggered, triggerError, reset }),
    [state, trigger, isTriggering, triggered, triggerError, reset],
  );
}
