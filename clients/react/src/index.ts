"use client";
// @stepflow/react: durable workflows in React components: start them, watch them live, send them events.

export { StepflowProvider, useStepflowClient, type StepflowProviderProps } from "./provider.js";
export { useNotify, type NotifyState, type UseNotifyOptions } from "./use-notify.js";
export { useRun, useSteps, useSuspenseRun, type SuspendedRunState, type UseRunOptions } from "./use-run.js";
export { useRunStream, type RunStream, type UseRunStreamOptions } from "./use-run-stream.js";
export { useTrigger, type TriggerState } from "./use-trigger.js";
export { useTriggerAndFollow, type TriggeredState } from "./use-trigger-and-follow.js";
export type { Connection } from "./followed-run.js";
export type { RunReference } from "./reference.js";
export type { RunState } from "./run-state.js";
