// Reads a line of JSON per message, verifies it with the official package, and answers with the package's own signature.
const readline = require("node:readline");
const { Webhook } = require(`${process.env.PEER_FOLDER}/node_modules/standardwebhooks`);

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  const body = Buffer.from(message.body, "base64").toString("utf8");
  const peer = new Webhook(message.secret);
  const headers = Object.fromEntries(["id", "timestamp", "signature"].map((name) => [`webhook-${name}`, message[name]]));
  let accepted = true;
  try {
    peer.verify(body, headers);
  } catch {
    accepted = false;
  }
  const signature = peer.sign(message.id, new Date(Number(message.timestamp) * 1000), body);
  console.log(JSON.stringify({ accepted, signature }));
});
