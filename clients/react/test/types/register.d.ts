// What the tests' program registers, as a generated file would.
import "@stepflow/client";

declare module "@stepflow/client" {
  interface Register {
    workflows: {
      checkout: { input: { total: number }; output: { receipt: string } };
      "two-waits": { input: string; output: string };
      survey: { input: null; output: number };
    };
    events: { [id: `approval/${string}`]: { approved: boolean } };
  }
}
