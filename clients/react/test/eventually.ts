// eventually: waits until an expectation holds; how long that may take on a busy machine is said here once.
import { vi } from "vitest";

export const LONGEST = 15_000;

export function eventually(expectation: () => void): Promise<void> {
  return vi.waitFor(expectation, { timeout: LONGEST, interval: 10 });
}
