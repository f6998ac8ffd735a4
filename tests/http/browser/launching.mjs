// A headless Chromium that does nothing but what a test asks of it.

import { chromium } from "playwright-core";

export function launched(executablePath) {
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
      // A page of localhost would have to ask the user before it reads from loopback.
      "--disable-features=LocalNetworkAccessChecks",
    ],
  });
}
