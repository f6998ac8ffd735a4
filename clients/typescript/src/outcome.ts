// Outcome: why a run that does not go on has no result.

import { RunCancelledError, RunFailedError, RunPausedError, type StepflowError } from "./errors.js";
import type { Run } from "./records.js";

/** Undefined if it has one. */
export function whyNoResult({ id, status, error, pauseReason }: Run): StepflowError | undefined {
  if (status === "failed") return new RunFailedError(id, error);
  if (status === "cancelled") return new RunCancelledError(id);
  return status === "paused" ? new RunPausedError(id, pauseReason) : undefined;
}
