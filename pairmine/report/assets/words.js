// Texts with marks: words shared with another text, what was searched for, and characters that cannot be seen.

const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const UNSPACED = /[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]/;
const UNSEEN = new RegExp([
  "[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b\\u200e\\u200f\\u202a-\\u202e]",
  "[\\u2060-\\u206f\\ud800-\\udfff\\ufeff\\ufffd\\u{e0000}-\\u{e007f}]", "\\r(?!\\n)",
].join("|"), "gu");
const SHARED = 1, HIT = 2, ODD = 4;
const segmenter = "Segmenter" in Intl ? new Intl.Segmenter("en", { granularity: "word" }) : null;

/** The words of a text with their places; what writes without spaces is cut by the browser's own dictionary. */
function* wordsOf(text) {
  if (segmenter && UNSPACED.test(text)) {
    for (const { segment, index, isWordLike } of segmenter.segment(text)) {
      if (isWordLike) yield [plain(segment), index, segment.length];
    }
  } else {
    for (const found of text.matchAll(WORD)) yield [plain(found[0]), found.index, found[0].length];
  }
}

/** Whether a text is laid out as code, by lines that are set in. */
const isLaidOut = (text) => /\n[ \t]{2,}\S/.test(text || "");

const wordSet = (text) => new Set(Array.from(wordsOf(text || ""), ([word]) => word));

/** The words that stand in more than a third of the sampled documents: that two texts share them says nothing. */
function commonWords(data) {
  const texts = [...new Set(data.rows.map((row) => row.text || ""))].slice(0, 400);
  const many = new Map();
  for (const text of texts) for (const word of wordSet(text)) many.set(word, (many.get(word) || 0) + 1);
  const limit = Math.max(texts.length / 3, 5);
  return new Set([...many].filter(([, count]) => count > limit).map(([word]) => word));
}

/** The words of `text` that are worth marking elsewhere. */
function tellingWords(text, common) {
  return new Set([...wordSet(text)].filter((word) => !common.has(word) && (word.length > 1 || UNSPACED.test(word))));
}

function flagged(text, words, terms) {
  const flags = new Uint8Array(text.length);
  if (words && words.size) {
    for (const [word, from, size] of wordsOf(text)) if (words.has(word)) flags.fill(SHARED, from, from + size);
  }
  for (const term of terms) {
    const pattern = new RegExp(term.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&"), "gi");
    for (const found of text.matchAll(pattern)) {
      for (let at = found.index; at < found.index + found[0].length; at += 1) flags[at] |= HIT;
    }
  }
  for (const { 0: unseen, index } of text.matchAll(UNSEEN)) flags.fill(ODD, index, index + unseen.length);
  return flags;
}

function piece(text, flag) {
  if (flag === ODD) {
    const code = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    return make("span", { class: "odd", title: "cannot be seen" }, Array.from(text, code).join(" "));
  }
  if (!flag) return document.createTextNode(text);
  return make("mark", { class: [flag & SHARED && "shared", flag & HIT && "hit"].filter(Boolean).join(" ") }, text);
}

/** `text` as nodes; `words` is the set of words to mark, `terms` what was searched for. */
function marked(text, words, terms) {
  const nodes = [];
  const flags = flagged(text, words, terms);
  let from = 0;
  for (let at = 1; at <= text.length; at += 1) {
    if (at < text.length && flags[at] === flags[from]) continue;
    nodes.push(piece(text.slice(from, at), flags[from]));
    from = at;
  }
  return text.length ? nodes : [make("em", {}, "empty")];
}
