// useFollowed: the run that a component is about, and what is known of it, as React wants to be told.

import { useCallback, useMemo, useSyncExternalStore } from "react";
import type { AccessToken } from "@stepflow/client";
import { UNKNOWN, type Beginning, type FollowedRun, type View } from "./followed-run.js";
import { followedRunsOf } from "./followed-runs.js";
import { useStepflowClient } from "./provider.js";

/** The one object of the run that this client's components share. Nothing is opened by it. */
export function useFollowed(runId: string, from?: Beginning): FollowedRun;
export function useFollowed(runId: string | undefined, from?: Beginning): FollowedRun | undefined;
export function useFollowed(runId: string | undefined, from: Beginning = "now"): FollowedRun | undefined {
  const runs = followedRunsOf(useStepflowClient());
  return useMemo(() => (runId === undefined ? undefined : runs.get(runId, from)), [runs, runId, from]);
}

/** What is known of the run, live. `onServer`: also there, and while hydrating, what is known counts. */
export function useView(
  followed: FollowedRun | undefined,
  accessToken: AccessToken | undefined,
  onServer = false,
): View {
  const view = (): View => followed?.view ?? UNKNOWN;
  return useSyncExternalStore(useWatch(followed, accessToken), view, onServer ? view : () => UNKNOWN);
}

/** How React is told of changes; while it listens, the run is followed. */
export function useWatch(
  followed: FollowedRun | undefined,
  accessToken: AccessToken | undefined,
): (watcher: () => void) => () => void {
  return useCallback(
    (watcher) => followed?.watch(watcher, accessToken) ?? (() => undefined),
    [followed, accessToken],
  );
}

/** The function by which a component asks anew. */
export function useRefresh(followed: FollowedRun | undefined): () => void {
  return useCallback(() => {
    followed?.refresh();
  }, [followed]);
}
