// The package as it is built.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as native from "@stepflow/react-native";

test.each(["esm", "cjs"])("the %s entry begins with the mark of client components", (kind) => {
  const entry = readFileSync(join(__dirname, "../../dist", kind, "index.js"), "utf8");
  expect(entry.split("\n")[0]).toBe('"use client";');
});

test("it exports the hooks of @stepflow/react and its own names, nothing else", () => {
  expect(Object.keys(native).sort()).toEqual(
    [
      "OfflineQueue",
      "OfflineQueueProvider",
      "QueueFullError",
      "QueueUnreadableError",
      "Reachability",
      "StepflowProvider",
      "createNativeClient",
      "secureTokenStorage",
      "useNotify",
      "useOfflineQueue",
      "useQueuedNotify",
      "useQueuedTrigger",
      "useRun",
      "useRunStream",
      "useSteps",
      "useStepflowClient",
      "useSuspenseRun",
      "useTrigger",
      "useTriggerAndFollow",
      "xhrTransport",
    ].sort(),
  );
});
