// Prints the verdicts of one line as they come. The wire format is in docs/wire.md.
//   node subscriber.mjs LINE [ENDPOINT]
import { decode } from "@msgpack/msgpack";
import { Subscriber } from "zeromq";

const VERSION = 1;
const [line, endpoint = "ipc:///run/alfa-inspector/detector-main.sock"] = process.argv.slice(2);
if (!line) {
  console.error("usage: node subscriber.mjs LINE [ENDPOINT]");
  process.exit(2);
}

const socket = new Subscriber({ receiveHighWaterMark: 10_000 });
socket.subscribe(`verdict/${line}/`); // without the last "/" line1 would hear line10 as well
socket.connect(endpoint); // the detector may come later, or come back

for await (const [, packed] of socket) {
  // Epochs and times have 63 bits: more than a Number holds.
  const verdict = decode(packed, { useBigInt64: true });
  if (verdict.v !== VERSION) {
    console.error(`version ${verdict.v} of the protocol; this program speaks ${VERSION}`);
    continue;
  }
  const { epoch, seq, part_id, result, fault, score, threshold, region, reasons } = verdict;
  const what =
    result === "FAULT"
      ? fault // not judged, so neither good nor bad
      : `score ${score.toFixed(4)} of ${threshold.toFixed(4)}`;
  const where = region ? ` at ${region.x},${region.y} ${region.width}x${region.height}` : "";
  const why = result === "NG" && reasons.length ? `: ${reasons[0].text}` : "";
  console.log(`${line} ${epoch}/${seq} ${part_id || "-"} ${result} ${what}${where}${why}`);
}
