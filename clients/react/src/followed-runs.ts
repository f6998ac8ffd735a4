// FollowedRuns: the runs that a client's components watch, each once.

import type { StepflowClient } from "@stepflow/client";
import { FollowedRun, type Beginning } from "./followed-run.js";

/** Runs that are remembered though nobody watches them, so that a page one comes back to has something to show at once. */
const REMEMBERED = 100;

/** Milliseconds for which a run is kept in any case: whoever asked for it in a render watches it only later, if at all. */
const YOUNG = 60_000;

export class FollowedRuns {
  private readonly runs = new Map<string, { run: FollowedRun; askedAt: number }>();

  constructor(private readonly client: StepflowClient) {}

  /** The run's one object. Safe in a render: nothing is opened by it. */
  get(runId: string, from: Beginning = "now"): FollowedRun {
    const key = `${from} ${runId}`;
    const known = this.runs.get(key);
    const run = known?.run ?? new FollowedRun(this.client, runId, from);
    this.runs.delete(key);
    this.runs.set(key, { run, askedAt: Date.now() }); // in the order in which they were last asked for
    if (!known) this.forget();
    return run;
  }

  private forget(): void {
    const since = Date.now() - YOUNG;
    let more = this.runs.size - REMEMBERED;
    for (const [key, { run, askedAt }] of this.runs) {
      if (more <= 0 || askedAt > since) return;
      if (run.isInUse) continue;
      this.runs.delete(key);
      more--;
    }
  }
}

const ofClients = new WeakMap<StepflowClient, FollowedRuns>();

/** The client's followed runs: the same for all providers, and however often a provider is rendered. */
export function followedRunsOf(client: StepflowClient): FollowedRuns {
  let runs = ofClients.get(client);
  if (!runs) {
    runs = new FollowedRuns(client);
    ofClients.set(client, runs);
  }
  return runs;
}
