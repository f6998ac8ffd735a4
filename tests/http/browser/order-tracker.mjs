// A customer of examples/order-tracker in Chromium: buys, sits out a server that goes away, approves, and gets the receipt.
// Prints what was seen, a line each. node order-tracker.mjs CHROMIUM URL [PICTURE]

import { launched } from "./launching.mjs";

const [, , executablePath, address, picture] = process.argv;
const PATIENCE = 60_000;
const SIZE = { width: 432, height: 660 };
const pictures = [];

const told = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** Runs inside the page: tells of the steps whenever those that are shown are others. */
function watch() {
  let before = "";
  new MutationObserver(() => {
    const steps = [...document.querySelectorAll("ol > li")].map(({ firstElementChild, className }) => [
      firstElementChild.textContent,
      className,
    ]);
    const now = JSON.stringify(steps);
    if (now !== before) globalThis.tell({ what: "steps", steps });
    before = now;
  }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
}

/** Something that was waited for is there. */
async function reached(page, event) {
  if (picture) pictures.push((await page.screenshot()).toString("base64"));
  told({ what: "moment", event });
}

async function order(page) {
  await page.goto(address);
  await page.evaluate(watch);
  await page.getByRole("button", { name: "Buy" }).click();
  const approve = page.getByRole("button", { name: "Approve" });
  await approve.and(page.locator(":enabled")).waitFor();
  await reached(page, "asked");

  const away = page.getByRole("status").filter({ hasText: "Reconnecting" });
  await away.waitFor();
  await reached(page, "away");
  await away.waitFor({ state: "hidden" });
  told({ what: "moment", event: "back" });

  await approve.click();
  const receipt = page.getByRole("region", { name: "Receipt" });
  await receipt.waitFor();
  await reached(page, "receipt");
  told({ what: "receipt", text: await receipt.innerText() });
}

/** What was seen, side by side. */
async function paint(browser) {
  const page = await browser.newPage({ viewport: { width: 3 * SIZE.width, height: SIZE.height }, deviceScaleFactor: 2 });
  const images = pictures.map((each) => `<img width="${SIZE.width}" src="data:image/png;base64,${each}">`);
  await page.setContent(`<body style="margin:0;display:flex">${images.join("")}</body>`);
  await page.screenshot({ path: picture });
}

const browser = await launched(executablePath);
try {
  const page = await browser.newPage({ viewport: SIZE, deviceScaleFactor: 2 });
  page.setDefaultTimeout(PATIENCE);
  page.on("load", () => told({ what: "load" }));
  page.on("console", (said) => told({ what: "console", type: said.type(), text: said.text() }));
  page.on("pageerror", (error) => told({ what: "console", type: "error", text: String(error) }));
  await page.exposeFunction("tell", told);
  await order(page);
  if (picture) await paint(browser);
} finally {
  await browser.close();
}
