// What the type checker accepts and refuses where nothing is registered. Never run: `npm run check` reads it.
import { useRun, useTriggerAndFollow } from "../../src/index.js";

export async function useAnything(): Promise<string> {
  const { trigger } = useTriggerAndFollow("any-workflow");
  await trigger();
  await trigger({ any: "input" });

  const state = useRun("any-workflow", "r1");
  if (state.status !== "completed") return state.status;
  // @ts-expect-error -- nothing is known of an output
  const output: string = state.output;
  return output;
}
