// JSON formatted for reading. Its tokens are kept: parsing would round large numbers and drop repeated names.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/gs;
const CLOSING = { "{": "}", "[": "]" };

/** The pieces of a JSON text, as pairs of kind (key, string, number, word or layout) and text. */
export function* pieces(text) {
  if (text.replace(TOKEN, "").trim()) {
    // The text is not JSON.
    yield ["word", text];
    return;
  }
  const tokens = [...text.matchAll(TOKEN)];
  let depth = 0;
  const newLine = () => `\n${"  ".repeat(depth)}`;
  for (let i = 0; i < tokens.length; i++) {
    const [token] = tokens[i];
    if (token in CLOSING && tokens[i + 1]?.[0] === CLOSING[token]) {
      yield ["layout", token + CLOSING[token]];
      i++;
    } else if (token in CLOSING) {
      depth++;
      yield ["layout", token + newLine()];
    } else if (token === "}" || token === "]") {
      depth = Math.max(0, depth - 1);
      yield ["layout", newLine() + token];
    } else if (token === ",") {
      yield ["layout", token + newLine()];
    } else if (token === ":") {
      yield ["layout", ": "];
    } else if (token[0] === '"') {
      yield [tokens[i + 1]?.[0] === ":" ? "key" : "string", token];
    } else {
      yield [/^[-\d]/.test(token) ? "number" : "word", token];
    }
  }
}

/** Formats a JSON text for reading. */
export const formatted = (text) => [...pieces(text)].map(([, piece]) => piece).join("");
