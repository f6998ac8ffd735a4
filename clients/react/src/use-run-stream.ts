// useRunStream: a run's events as they come.
/* eslint-disable @typescript-eslint/unified-signatures -- undefined in the second place is a run that is not there yet, never options */

import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import type { AccessToken, StreamEvent, WorkflowId } from "@stepflow/client";
import { NO_EVENTS, type Connection, type FollowedRun } from "./followed-run.js";
import { readArguments, type RunReference } from "./reference.js";
import { useFollowed, useRefresh, useView, useWatch } from "./use-followed.js";

export interface UseRunStreamOptions<W extends WorkflowId = WorkflowId> {
  /** The run's token, where neither the client's credential nor its `tokens` reach. */
  accessToken?: AccessToken | undefined;
  /**
   * `now` (unless given): the run as it is and what comes then, on the connection that `useRun` uses. `start`: all that ever
   * happened, on a connection of its own, which all who read from the start share.
   */
  from?: "now" | "start" | undefined;
  /** Told of each event that comes while the component is mounted, at once; nothing is rendered for it. */
  onEvent?: ((event: StreamEvent<W>) => void) | undefined;
}

/** A run's events, as far as they have come. */
export interface RunStream<W extends WorkflowId = WorkflowId> {
  /** In order, each once; the last 1000. Transient ones (`step:start`, `step:retry`, `log`) are best effort. */
  events: readonly StreamEvent<W>[];
  latest: StreamEvent<W> | undefined;
  connection: Connection;
  /** Why the run can't be followed, or no longer. */
  error: Error | undefined;
  /** Read again from where it was begun: after an error, or when an ended run was retried. */
  refresh: () => void;
}

/** The events of a run. What they add up to, `useRun` tells. */
export function useRunStream<W extends WorkflowId = WorkflowId>(run: RunReference<W>): RunStream<W>;
export function useRunStream<W extends WorkflowId = WorkflowId>(
  run: RunReference<W>,
  options: UseRunStreamOptions<W>,
): RunStream<W>;
export function useRunStream<W extends WorkflowId>(
  workflowId: W,
  run: RunReference<NoInfer<W>>,
  options?: UseRunStreamOptions<W>,
): RunStream<W>;
export function useRunStream<W extends WorkflowId>(...given: readonly unknown[]): RunStream<W> {
  const { runId, options } = readArguments<UseRunStreamOptions<W>>(given);
  const followed = useFollowed(runId, options.from ?? "now");
  useListener(followed, options.onEvent);
  const { connection, error } = useView(followed, options.accessToken);
  const events = useSyncExternalStore(
    useWatch(followed, options.accessToken),
    () => followed?.events ?? NO_EVENTS,
    () => NO_EVENTS,
  ) as readonly StreamEvent<W>[];
  const refresh = useRefresh(followed);
  return useMemo(
    () => ({ events, latest: events.at(-1), connection, error, refresh }),
    [events, connection, error, refresh],
  );
}

function useListener<W extends WorkflowId>(
  followed: FollowedRun | undefined,
  onEvent: ((event: StreamEvent<W>) => void) | undefined,
): void {
  const latest = useRef(onEvent);
  useEffect(() => {
    latest.current = onEvent;
  });
  useEffect(
    () =>
      followed?.listen((event) => {
        latest.current?.(event as StreamEvent<W>);
      }),
    [followed],
  );
}
