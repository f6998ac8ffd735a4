// useRun: a run, live. useSteps: only its steps. useSuspenseRun: a run that is there, or a boundary that waits for it.
/* eslint-disable @typescript-eslint/unified-signatures -- undefined in the second place is a run that is not there yet, never options */

import { useMemo, useSyncExternalStore } from "react";
import type { AccessToken, Run, Step, WorkflowId } from "@stepflow/client";
import { readArguments, type RunReference } from "./reference.js";
import { knownState, stateOf, type KnownRunState, type RunState } from "./run-state.js";
import { useFollowed, useRefresh, useView, useWatch } from "./use-followed.js";

export interface UseRunOptions<W extends WorkflowId = WorkflowId> {
  /** The run's token, where neither the client's credential nor its `tokens` reach. */
  accessToken?: AccessToken | undefined;
  /** The run as a server has read it already: shown on the server, while hydrating, and until there is news. */
  initialRun?: Run<W> | undefined;
}

/** A run that is known, whatever becomes of it. */
export type SuspendedRunState<W extends WorkflowId = WorkflowId> = KnownRunState<W>;

/**
 * A run as it goes on. However many components watch it, there is one connection; it ends shortly after the last has gone. Without a
 * run (`null`, `undefined`) nothing is done, and its status is `idle`. On the server it is `loading`, unless `initialRun` is given.
 */
export function useRun<W extends WorkflowId = WorkflowId>(run: RunReference<W>): RunState<W>;
export function useRun<W extends WorkflowId = WorkflowId>(
  run: RunReference<W>,
  options: UseRunOptions<W>,
): RunState<W>;
export function useRun<W extends WorkflowId>(
  workflowId: W,
  run: RunReference<NoInfer<W>>,
  options?: UseRunOptions<W>,
): RunState<W>;
export function useRun<W extends WorkflowId>(...given: readonly unknown[]): RunState<W> {
  const { runId, options } = readArguments<UseRunOptions<W>>(given);
  return useNamedRun(runId, options);
}

/** The same, its arguments read. */
export function useNamedRun<W extends WorkflowId>(
  runId: string | undefined,
  { accessToken, initialRun }: UseRunOptions<W>,
): RunState<W> {
  const followed = useFollowed(runId);
  const view = useView(followed, accessToken);
  const refresh = useRefresh(followed);
  return useMemo(
    () => stateOf<W>(view, (view.run as Run<W> | undefined) ?? initialRun, runId !== undefined, refresh),
    [view, initialRun, runId, refresh],
  );
}

/** The run's steps, the last 200 of them, live. Rendered again only when they change. */
export function useSteps<W extends WorkflowId = WorkflowId>(run: RunReference<W>): readonly Step[];
export function useSteps<W extends WorkflowId = WorkflowId>(
  run: RunReference<W>,
  options: UseRunOptions<W>,
): readonly Step[];
export function useSteps<W extends WorkflowId>(
  workflowId: W,
  run: RunReference<NoInfer<W>>,
  options?: UseRunOptions<W>,
): readonly Step[];
export function useSteps<W extends WorkflowId>(...given: readonly unknown[]): readonly Step[] {
  const { runId, options } = readArguments<UseRunOptions<W>>(given);
  const followed = useFollowed(runId);
  const initial = options.initialRun?.steps ?? NO_STEPS;
  return useSyncExternalStore(
    useWatch(followed, options.accessToken),
    () => followed?.view.run?.steps ?? initial,
    () => initial,
  );
}

/**
 * The run once it is known: until then the nearest `<Suspense>` shows its fallback, and if it can't be had, the nearest error boundary
 * gets the error. Later errors, with the run known, are in `error`.
 */
export function useSuspenseRun<W extends WorkflowId = WorkflowId>(
  run: NonNullable<RunReference<W>>,
): SuspendedRunState<W>;
export function useSuspenseRun<W extends WorkflowId = WorkflowId>(
  run: NonNullable<RunReference<W>>,
  options: UseRunOptions<W>,
): SuspendedRunState<W>;
export function useSuspenseRun<W extends WorkflowId>(
  workflowId: W,
  run: NonNullable<RunReference<NoInfer<W>>>,
  options?: UseRunOptions<W>,
): SuspendedRunState<W>;
export function useSuspenseRun<W extends WorkflowId>(...given: readonly unknown[]): SuspendedRunState<W> {
  const { runId, options } = readArguments<UseRunOptions<W>>(given);
  if (runId === undefined) throw new Error("useSuspenseRun needs a run to wait for; useRun also takes none");
  const followed = useFollowed(runId);
  const view = useView(followed, options.accessToken, true);
  const refresh = useRefresh(followed);
  const known = (view.run as Run<W> | undefined) ?? options.initialRun;
  const state = useMemo(() => known && knownState<W>(view, known, refresh), [view, known, refresh]);
  if (state) return state;
  if (view.error) throw view.error;
  // Suspense takes promises that are thrown: React 18 has no other way.
  // eslint-disable-next-line @typescript-eslint/only-throw-error
  throw followed.ready(options.accessToken);
}

const NO_STEPS: readonly Step[] = [];
