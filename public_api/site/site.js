// The public page: live over two websockets, by polling when they fail. All data is shown as text, never as markup.

import { Channel, ask, isPrivate } from "./channel.js";
import { BLANK, age, change, figure, given, listed, moment, number, percent, plain, words } from "./words.js";

const MOST_ROWS = 500;
const STALE_AFTER_S = 900;
const NOT_PUBLIC = "Not public here: shown on the machine itself, or through the API with a token.";
const SIGNALS = { BUY: ["buy", "\u25b2 BUY"], HOLD: ["hold", "\u25a0 HOLD"], SELL: ["sell", "\u25bc SELL"] };
const LINKS = {
  connecting: "connecting", live: "live (websocket)", polling: "polling every 10 s",
  offline: "offline: the server does not answer", private: "nothing here is public without a token",
};

const at = (id) => document.getElementById(id);
const table = { rows: [], sort: "score", falling: true };
const channels = {};
const snapshot = { takenMs: null, stale: false };
let history = [];

// Pieces of the page

function piece(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function tiles(id, pairs) {
  at(id).replaceChildren(...pairs.map(([title, value, kind]) => {
    const tile = document.createElement("div");
    tile.append(piece("dt", title), piece("dd", value, kind));
    return tile;
  }));
}

function note(block, text) {
  const place = at(block).querySelector(".note");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}

function strip(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
  at(id).hidden = !text;
}

function badge(id, text) {
  at(id).textContent = text === BLANK ? "" : text;
  at(id).hidden = text === BLANK;
}

function trouble({ status, body }) {
  if (status === 0) return "The server does not answer; figures below are the last ones known.";
  if (status === 429) return "Asked too often; trying again shortly.";
  if (status === 503) return `No data yet: ${given(body.detail) ? words(body.detail) : "the bot has written none"}.`;
  return `The server could not answer (${status}${given(body.error_id) ? `, error ${words(body.error_id)}` : ""}).`;
}

async function fill(block, path, show, clear) {
  const answer = await ask(path);
  if (answer.status === 200) show(answer.body);
  else if (isPrivate(answer.status)) {
    clear();
    note(block, NOT_PUBLIC);
  } else note(block, trouble(answer));
}

// Blocks

function showSnapshot(body) {
  const seconds = number(body.age_sec);
  snapshot.takenMs = Number.isFinite(seconds) ? Date.now() - seconds * 1000 : null;
  snapshot.stale = body.stale === true;
  const taken = snapshot.takenMs === null ? "" : new Date(snapshot.takenMs).toISOString();
  at("snapshot-at").textContent = taken ? moment(body.data_at ?? taken) : "not yet";
  at("snapshot-at").dateTime = taken;
  tick();
}

function showPredictions(body) {
  table.rows = listed(body.rows);
  const all = number(body.total_rows) || table.rows.length;
  showSnapshot(body);
  const sources = [body.data_source, ...table.rows.map((row) => row.data_source)];
  at("synthetic").hidden = !(body.synthetic === true || sources.includes("synthetic"));
  const counted = plain(body.signals);
  const count = (signal) => number(counted[signal] ?? table.rows.filter((row) => row.action === signal).length);
  const missing = all - table.rows.length;
  tiles("signal-tiles", [...Object.keys(SIGNALS).map((name) => [SIGNALS[name][1], figure(count(name), 0), SIGNALS[name][0]]),
    ["Symbols", figure(all, 0)]]);
  note("signals", all ? (missing > 0 && !given(counted.BUY) ? `${missing} further symbols are not counted.` : "") : "No scan yet: the first one comes with the bot's first cycle.");
  note("predictions", all ? "" : "No predictions yet. They appear with the bot's first scan.");
  showTable();
}

function clearPredictions() {
  table.rows = [];
  tiles("signal-tiles", []);
  note("signals", NOT_PUBLIC);
  showTable();
}

const signalOf = (row) => (Object.hasOwn(SIGNALS, words(row.action)) ? SIGNALS[words(row.action)] : ["", words(row.action)]);

const COLUMNS = [
  ["symbol", "Symbol", (row) => words(row.symbol), (row) => words(row.symbol)],
  ["action", "Signal", (row) => signalOf(row)[1], (row) => words(row.action)],
  ["p_buy", "p(BUY)", (row) => figure(plain(row.probas).BUY ?? row.p_buy, 3), (row) => number(plain(row.probas).BUY ?? row.p_buy)],
  ["base_rate", "Usual", (row) => figure(row.base_rate, 3), (row) => number(row.base_rate)],
  ["confidence", "Confidence", (row) => figure(row.confidence, 2), (row) => number(row.confidence)],
  ["score", "Score 0\u201310", (row) => figure(row.score, 1), (row) => number(row.score)],
  ["expected", "After costs", (row) => change(row.expected_net_pct), (row) => number(row.expected_net_pct)],
  ["spread", "Spread", (row) => percent(row.spread_pct, 3), (row) => number(row.spread_pct)],
  ["price", "Price", (row) => words(row.price), (row) => number(row.price)],
  ["reason", "Reason", (row) => words(row.reason), (row) => words(row.reason)],
];
const kindOf = (key, row) => ({ action: signalOf(row)[0], reason: "words" })[key] || "";

function compared(left, right) {
  if (typeof left === "string") return left.localeCompare(right);
  const known = Number(Number.isFinite(left)) - Number(Number.isFinite(right));
  return known || (Number.isFinite(left) ? left - right : 0);
}

function showTable() {
  const wanted = at("find").value.trim().toLowerCase();
  const only = at("only").value;
  const value = COLUMNS.find(([key]) => key === table.sort)[3];
  const shown = table.rows.filter((row) => (!only || row.action === only)
    && (!wanted || `${words(row.symbol)} ${words(row.reason)}`.toLowerCase().includes(wanted)));
  shown.sort((one, other) => (table.falling ? -1 : 1) * compared(value(one), value(other)) || compared(words(one.symbol), words(other.symbol)));
  at("rows").replaceChildren(...shown.map((row) => {
    const line = document.createElement("tr");
    line.append(...COLUMNS.map(([key, , text]) => piece("td", text(row), kindOf(key, row))));
    return line;
  }));
  at("shown").textContent = table.rows.length ? `${shown.length} of ${table.rows.length} shown` : "";
  for (const heading of at("headings").children) {
    const sorts = heading.dataset.key === table.sort;
    heading.setAttribute("aria-sort", sorts ? (table.falling ? "descending" : "ascending") : "none");
  }
}

function buildHeadings() {
  at("headings").replaceChildren(...COLUMNS.map(([key, title]) => {
    const heading = piece("th", undefined, key === "reason" ? "words" : "");
    const button = piece("button", title);
    heading.scope = "col";
    heading.dataset.key = key;
    button.type = "button";
    button.addEventListener("click", () => {
      table.falling = table.sort === key ? !table.falling : !["symbol", "action", "reason"].includes(key);
      table.sort = key;
      showTable();
    });
    heading.append(button);
    return heading;
  }));
}

function showIndex(body) {
  const value = number(body.index_value);
  const known = body.enabled !== false && Number.isFinite(value);
  tiles("index-tiles", known ? [
    ["Index 0\u2013100", figure(value, 1)], ["Mood", words(body.signal ?? body.market_signal)],
    ["Confidence", percent(body.confidence, 0)], ["Regime", words(body.market_regime).replaceAll("_", " ")],
    ["Expected move", change(body.predicted_move_pct)],
    [words(body.benchmark_symbol), words(body.benchmark_price)],
  ] : []);
  note("index", known ? "" : body.enabled === false ? "Market intelligence is switched off." : "No market index yet.");
}

function clearIndex() {
  tiles("index-tiles", []);
  at("chart").hidden = true;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const heightOf = (value) => 180 - Math.min(100, Math.max(0, value)) * 1.6;

function showHistory(rows) {
  history = rows.map((row) => ({ when: new Date(row.ts).getTime(), value: number(row.index_value) }))
    .filter((spot) => Number.isFinite(spot.when) && Number.isFinite(spot.value))
    .sort((one, other) => one.when - other.when);
  at("chart").hidden = history.length < 2;
  if (history.length < 2) return;
  const [first, last] = [history[0], history[history.length - 1]];
  const across = (spot) => 40 + (510 * (spot.when - first.when)) / Math.max(1, last.when - first.when);
  const points = history.map((spot) => `${across(spot).toFixed(1)},${heightOf(spot.value).toFixed(1)}`).join(" ");
  at("chart-lines").replaceChildren(drawn("polyline", { points, class: "line" }),
    drawn("circle", { cx: across(last), cy: heightOf(last.value), r: 4, class: "spot" }));
  const values = history.map((spot) => spot.value);
  at("chart-words").textContent = `Index from ${moment(first.when)} to ${moment(last.when)}: between `
    + `${Math.min(...values).toFixed(1)} and ${Math.max(...values).toFixed(1)}, last ${last.value.toFixed(1)}. 50 is neutral.`;
}

function buildGrid() {
  at("chart-grid").replaceChildren(...[0, 25, 50, 75, 100].flatMap((value) => [
    drawn("line", { x1: 40, x2: 550, y1: heightOf(value), y2: heightOf(value), class: value === 50 ? "grid middle" : "grid" }),
    drawn("text", { x: 32, y: heightOf(value) + 4, "text-anchor": "end" }, String(value)),
  ]));
}

function showMarket(body) {
  const rows = listed(body.rows);
  if (rows.length) showHistory(rows);
  showIndex(plain(body.latest ?? rows[0]));
}

function showCapital(body) {
  const unit = given(body.quote_asset ?? body.exchange_quote_asset) ? ` ${words(body.quote_asset ?? body.exchange_quote_asset)}` : "";
  const control = words(plain(body.control_state).state ?? body.control_state);
  tiles("capital-tiles", [
    ["Equity", figure(body.equity, 2, unit)], ["Total", figure(body.total_capital, 2, unit)],
    ["Active", figure(body.active_capital, 2, unit)], ["Today", change(body.daily_pnl_pct)],
    ["This week", change(body.weekly_pnl_pct)], ["Drawdown", percent(body.drawdown_pct, 2)],
    ["Open positions", figure(body.open_positions, 0)], ["Trades", figure(body.total_trades, 0)],
  ]);
  badge("mode", words(body.mode).toUpperCase());
  badge("control", control);
  strip("halt", control === "HALTED" ? "HALTED: nothing is bought until a person resumes."
    : control === "REDUCE_ONLY" ? "REDUCE_ONLY: positions are only closed, nothing is bought." : "");
  if (body.synthetic === true) at("synthetic").hidden = false;
  note("capital", Number.isFinite(number(body.equity)) ? "" : "No account yet: it is written with the bot's first cycle.");
}

function clearCapital() {
  tiles("capital-tiles", []);
  for (const id of ["mode", "control"]) badge(id, BLANK);
  strip("halt", "");
}

function showTraining(body) {
  const status = given(body.status) ? words(body.status) : "idle";
  const done = number(body.progress_pct);
  const running = status === "running";
  at("training-bar").hidden = !(running && Number.isFinite(done));
  at("training-bar").value = Number.isFinite(done) ? done : 0;
  note("training", !given(body.started_at) ? "Nothing was trained yet." : `${status.replaceAll("_", " ")}`
    + (running ? `: ${words(body.current_symbol)}, ${figure(done, 0, " %")}${given(body.eta_s) ? `, about ${age(number(body.eta_s))} left` : ""}` : "")
    + (given(body.last_error) ? `. Last error: ${words(body.last_error)}` : ""));
  const counters = [["Requested", "requested"], ["Done", "completed"], ["Trained", "trained"], ["Errors", "errors"],
    ["Champion kept", "kept_champion"], ["Up to date", "skipped_up_to_date"]];
  tiles("training-tiles", given(body.started_at) ? [...counters.map(([title, key]) => [title, figure(body[`symbols_${key}`], 0)]),
    ["Trigger", words(body.trigger).replaceAll("_", " ")], ["Started", moment(body.started_at)]] : []);
}

function clearTraining() {
  tiles("training-tiles", []);
  at("training-bar").hidden = true;
}

function showModels(body) {
  const rows = listed(body.rows);
  note("models", rows.length ? `${figure(body.total_bundles ?? rows.length, 0)} bundles. Tradable: ${rows.filter((row) => row.tradable === true).length} of ${rows.length} listed.`
    : "No bundles yet: the first training writes them.");
  at("model-list").replaceChildren(...rows.map((row) => {
    const line = document.createElement("li");
    const link = piece("a", `Download ${words(row.symbol ?? row.model_key)}`);
    link.href = `/api/models/download?model_key=${encodeURIComponent(words(row.model_key))}`;
    link.setAttribute("download", "");
    const skill = given(row.skill) && typeof row.skill !== "object" ? `, skill ${change(row.skill)}` : "";
    line.append(link, piece("span", `version ${words(row.version)}, ${row.tradable === true ? "tradable" : "not tradable"}${skill}, ${figure(row.size_mb, 2, " MB")}`));
    return line;
  }));
}

// Live connection

function showLink() {
  const states = Object.values(channels).map((channel) => channel.state).filter((state) => state !== "private");
  const is = (state) => states.includes(state);
  const state = !states.length ? "private" : is("offline") ? "offline" : is("polling") ? "polling" : is("connecting") ? "connecting" : "live";
  document.body.dataset.link = state;
  if (at("link-words").textContent !== LINKS[state]) at("link-words").textContent = LINKS[state];
  tick();
}

function tick() {
  const seconds = snapshot.takenMs === null ? NaN : (Date.now() - snapshot.takenMs) / 1000;
  const old = snapshot.stale || seconds > STALE_AFTER_S;
  const offline = document.body.dataset.link === "offline";
  at("snapshot-age").textContent = Number.isFinite(seconds) ? `(${age(seconds)} ago)` : "";
  document.body.classList.toggle("old", old || offline);
  strip("stale", old && !offline ? `Stale: no new scan since ${moment(snapshot.takenMs)}. The bot may be stopped.` : "");
}

async function pollPredictions() {
  const answer = await ask(`/api/v1/predictions?limit=${MOST_ROWS}`);
  if (answer.status === 200) showPredictions(answer.body);
  else if (isPrivate(answer.status)) clearPredictions();
  else note("signals", "");
  if (answer.status !== 200) note("predictions", isPrivate(answer.status) ? NOT_PUBLIC : trouble(answer));
  return isPrivate(answer.status) ? "private" : answer.status === 0 ? "offline" : "polling";
}

function takePredictions(body) {
  showPredictions(body);
  if (table.rows.length < Math.min(MOST_ROWS, number(body.total_rows))) pollPredictions(); // a frame holds less than an answer
}

async function pollMarket() {
  const [now, past] = await Promise.all([ask("/api/market/index"), ask(`/api/market/index/history?limit=${MOST_ROWS}`)]);
  if (past.status === 200) showHistory(listed(past.body.rows));
  if (now.status === 200) showIndex(now.body);
  else if (isPrivate(now.status)) clearIndex();
  if (now.status !== 200) note("index", isPrivate(now.status) ? NOT_PUBLIC : trouble(now));
  return isPrivate(now.status) ? "private" : now.status === 0 ? "offline" : "polling";
}

function every(seconds, action) {
  const again = () => (document.hidden ? undefined : action());
  again();
  setInterval(again, seconds * 1000);
  document.addEventListener("visibilitychange", again);
}

function begin() {
  buildHeadings();
  buildGrid();
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["find", "only"]) at(id).addEventListener("input", showTable);
  channels.predictions = new Channel(`/ws/predictions?limit=${MOST_ROWS}`, { poll: pollPredictions, take: takePredictions, told: showLink });
  channels.market = new Channel(`/ws/market/intelligence?limit=${MOST_ROWS}`, { poll: pollMarket, take: showMarket, told: showLink });
  for (const channel of Object.values(channels)) channel.begin();
  every(10, () => fill("capital", "/api/runtime/summary", showCapital, clearCapital));
  every(10, () => fill("training", "/api/training/status", showTraining, clearTraining));
  every(60, () => fill("models", "/api/models", showModels, () => at("model-list").replaceChildren()));
  setInterval(tick, 1000);
}

begin();
