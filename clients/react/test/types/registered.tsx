// What the type checker accepts and refuses where workflows are registered. Never run: `npm run check` reads it.
import type { TriggeredRun } from "@stepflow/client";
import {
  useNotify,
  useRun,
  useRunStream,
  useSuspenseRun,
  useTrigger,
  useTriggerAndFollow,
} from "../../src/index.js";

declare function see(value: unknown): void;
declare const id: string | undefined;
declare const triggered: TriggeredRun<"checkout">;

export function useNames(): void {
  useRun("checkout", id);
  useRun("checkout", triggered);
  // @ts-expect-error -- no such workflow
  useRun("shopping", id);
  // @ts-expect-error -- undefined options would be read as a run that is not there yet
  useRun("r1", undefined as { accessToken: string } | undefined);
  // @ts-expect-error -- a run of another workflow
  useRun("survey", triggered);
  // @ts-expect-error -- Suspense can't wait for a run that is not named
  useSuspenseRun("checkout", id);
}

export function useOutputs(): string {
  const state = useRun("checkout", id);
  // @ts-expect-error -- there is an output only once it is completed
  see(state.output.receipt);
  // @ts-expect-error -- there may be no run
  see(state.run.id);
  if (state.status === "failed") see(state.failure?.message);
  if (state.status === "completed") return state.output.receipt;

  const remembered = useRun(triggered); // the run knows whose it is
  if (remembered.status === "completed") return remembered.output.receipt;

  const survey = useRun("survey", "r1");
  // @ts-expect-error -- its output is a number
  if (survey.status === "completed") return survey.output;

  return useSuspenseRun("checkout", "r1").run.id; // always there
}

export function useEvents(): void {
  const { latest } = useRunStream("checkout", id, { from: "start" });
  if (latest?.type === "execution:complete") see(latest.data.receipt);
  // @ts-expect-error -- not every event has data
  see(latest?.data);
}

export async function useQuestions(): Promise<string> {
  const checkout = useTrigger("checkout");
  await checkout.trigger({ total: 1 });
  // @ts-expect-error -- its input has a total
  await checkout.trigger({ amount: 1 });
  // @ts-expect-error -- its input may not be left out
  await checkout.trigger();
  await useTrigger("survey").trigger();

  const { notify } = useNotify();
  await notify("approval/a-1", { approved: true });
  // @ts-expect-error -- an approval says whether it is one
  await notify("approval/a-1", "yes");
  await notify("anything/else", "is unknown");

  const followed = useTriggerAndFollow("checkout");
  await followed.trigger({ total: 1 });
  return followed.status === "completed" ? followed.output.receipt : followed.status;
}
