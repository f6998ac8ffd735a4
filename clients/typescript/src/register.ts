// Register: what a program's workflows and events are, told by a generated file; everything typed follows from it.

/**
 * Augment this interface, or let `stepflow generate typescript` do it, and the client knows your workflows:
 *
 * ```ts
 * declare module "@stepflow/client" {
 *   interface Register {
 *     workflows: { checkout: { input: { total: number }; output: { receipt: string } } };
 *     events: { [id: `shipped/${string}`]: { carrier: string } };
 *   }
 * }
 * ```
 *
 * Without it any workflow id is accepted, and inputs and outputs are `unknown`.
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- it is there to be augmented
export interface Register {}

/** A workflow as it is registered. */
export interface RegisteredWorkflow {
  input: unknown;
  output: unknown;
}

type Workflows = Register extends { workflows: infer W } ? W : Record<string, RegisteredWorkflow>;
// eslint-disable-next-line @typescript-eslint/no-generated-empty-object-type -- no event is registered here
type Events = Register extends { events: infer E } ? E : Record<never, never>;

/** The ids of the registered workflows; any string if none is registered. */
export type WorkflowId = keyof Workflows & string;

/** What the workflow takes. */
export type InputOf<W extends WorkflowId> = Workflows[W] extends { input: infer I } ? I : unknown;

/** What the workflow gives. */
export type OutputOf<W extends WorkflowId> = Workflows[W] extends { output: infer O } ? O : unknown;

/** What an event carries, if its id is a registered one or fits a pattern of one; else `unknown`. */
export type EventPayload<E extends string> = E extends keyof Events ? Events[E] : unknown;

declare const ofWorkflow: unique symbol;

/** The id of a run, which remembers whose run it is: plain text while the program runs. */
export type RunId<W extends WorkflowId = WorkflowId> = string & { readonly [ofWorkflow]: W };

/** A run's id, with or without that memory. */
export type AnyRunId<W extends WorkflowId = WorkflowId> = RunId<W> | string;
