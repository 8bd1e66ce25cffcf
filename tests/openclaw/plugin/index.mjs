// The convos contract inside a real OpenClaw: one conversation in the life of a state directory, kept in a file of its
// own. `/convos/echo` sends back every part of a body as it arrives, so a test can see that nobody on the way keeps it.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(process.env.OPENCLAW_STATE_DIR, "convos");
const file = join(folder, "conversation.json");
const token = process.env.OPENCLAW_GATEWAY_TOKEN;

class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

function load() {
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : null;
}

function save(conversation) {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(`${file}.draft`, JSON.stringify(conversation), { mode: 0o600 });
  renameSync(`${file}.draft`, file);
}

function requireToken(request) {
  const digest = (text) => createHash("sha256").update(text).digest();
  if (!timingSafeEqual(digest(request.headers.authorization ?? ""), digest(`Bearer ${token}`))) {
    throw new Refusal(401, "The bearer token is missing or wrong.");
  }
}

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  try {
    return JSON.parse(Buffer.concat(parts).toString("utf8") || "{}");
  } catch {
    throw new Refusal(400, "The body is not JSON.");
  }
}

function bind(conversation) {
  if (load() !== null) throw new Refusal(409, "This process is already bound to a conversation.");
  save(conversation);
}

const routes = {
  "/convos/status": {
    method: "GET",
    async answer() {
      const conversation = load();
      return {
        ready: true,
        conversation: conversation && { id: conversation.id, inviteUrl: conversation.inviteUrl },
        streaming: conversation !== null,
      };
    },
  },
  "/convos/conversation": {
    method: "POST",
    async answer(request) {
      const { name, profileName } = await read(request);
      const inviteSlug = randomBytes(12).toString("base64url");
      const inviteUrl = `https://dev.convos.org/v2?i=${inviteSlug}`;
      const id = randomBytes(16).toString("hex");
      bind({ id, name: name ?? profileName ?? "OpenClaw", inviteUrl });
      return { conversationId: id, inviteUrl, inviteSlug };
    },
  },
  "/convos/join": {
    method: "POST",
    async answer(request) {
      const { inviteUrl } = await read(request);
      if (typeof inviteUrl !== "string" || !inviteUrl) throw new Refusal(400, "inviteUrl is missing.");
      const id = createHash("sha256").update(inviteUrl).digest("hex").slice(0, 32);
      bind({ id, name: "joined", inviteUrl: null });
      return { status: "joined", conversationId: id };
    },
  },
};

function handle({ method, answer }) {
  return async (request, response) => {
    response.setHeader("Content-Type", "application/json");
    try {
      requireToken(request);
      if (request.method !== method) throw new Refusal(405, `Use ${method}.`);
      response.end(JSON.stringify(await answer(request)));
    } catch (error) {
      response.statusCode = error instanceof Refusal ? error.status : 500;
      response.end(JSON.stringify({ error: error.message }));
    }
    return true;
  };
}

async function echo(request, response) {
  response.setHeader("Content-Type", "application/octet-stream");
  response.flushHeaders();
  for await (const part of request) response.write(part);
  response.end();
  return true;
}

export default {
  id: "agentpool-convos",
  name: "Convos, with no network behind it",
  description: "The convos contract for tests",
  register(api) {
    for (const [path, route] of Object.entries(routes)) {
      api.registerHttpRoute({ path, auth: "plugin", match: "exact", handler: handle(route) });
    }
    api.registerHttpRoute({ path: "/convos/echo", auth: "plugin", match: "exact", handler: echo });
  },
};
