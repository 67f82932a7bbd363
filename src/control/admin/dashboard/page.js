// The dashboard: reads /events by fetch, because an EventSource can show no token, and draws what it says.
// Everything that comes from the gateway goes in as text: names of routes may hold markup.
"use strict";

const TOKEN = "ringgate.token";
const SECONDS = 180;
/** Milliseconds without a frame, of which there is one a second, after which the connection is lost. */
const SILENCE = 3500;
const $ = (id) => document.getElementById(id);

let past = [];
let bounds = [];
let frame = null;
let told = 0;
let beganToLose = 0;
let reading = null;
let isRefused = false;
let wantsToken = false;

/* ---------- the gateway ---------- */

const token = () => sessionStorage.getItem(TOKEN);

function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = "Bearer " + token();
  return fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
}

async function listen() {
  let pause = 250;
  for (;;) {
    if (!wantsToken) {
      try {
        await follow();
        pause = 250;
      } catch (error) {
        showLost(error);
      }
    }
    await new Promise((done) => { setTimeout(done, pause); });
    pause = Math.min(pause * 2, 2000);
  }
}

async function follow() {
  const own = new AbortController();
  reading = own;
  // Whoever accepts and says nothing is no gateway.
  const silence = setTimeout(() => own.abort(), SILENCE);
  try {
    const answer = await ask("/events", { signal: own.signal });
    if (answer.status === 401) return wantToken();
    if (!answer.ok) throw new Error("the gateway answers with " + answer.status + (answer.status === 503 ? ": as many pages look at it as may" : ""));
    clearTimeout(silence);
    told = Date.now();
    isRefused = false;
    await takeEvents(answer.body.getReader());
  } finally {
    clearTimeout(silence);
    own.abort();
  }
}

async function takeEvents(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the gateway ended the stream");
    rest += decoder.decode(value, { stream: true });
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) takeEvent(event);
  }
}

function takeEvent(event) {
  const [kind, text] = event.split("\n");
  const what = JSON.parse(text.slice("data: ".length));
  told = Date.now();
  if (kind === "event: past") {
    past = what.seconds;
    bounds = what.heat_bounds_us;
  } else {
    takeFrame(what);
  }
}

function takeFrame(next) {
  const before = frame;
  frame = next;
  const last = past.length ? past[past.length - 1].beat : 0;
  if (next.second && next.second.beat > last) past.push(next.second);
  past = past.slice(-SECONDS);
  showLink();
  noteChanges(before, next);
  draw();
}

/* ---------- whether it is there ---------- */

function showLink() {
  beganToLose = 0;
  const { gateway } = frame;
  const [tone, text] = gateway.draining ? ["warn", "draining"] : gateway.ready ? ["ok", "ready"] : ["bad", "not ready"];
  sayState($("link"), tone, text);
  $("lost").hidden = true;
  $("main").classList.remove("stale");
}

function showLost(error) {
  beganToLose = beganToLose || Date.now();
  sayState($("link"), "bad", "connection lost");
  $("main").classList.add("stale");
  $("switch").disabled = true;
  const since = frame ? " What you see is of " + clock(told) + "." : "";
  say($("lost"), "Connection to the gateway lost" + (error && error.name === "Error" ? " (" + error.message + ")" : "") + "." + since);
  $("lost").hidden = false;
  document.title = "Connection lost · Ringgate";
}

function watch() {
  if (reading && told && !wantsToken && Date.now() - told > SILENCE) {
    reading.abort();
    showLost(null);
  }
}

function wantToken() {
  isRefused = token() !== null;
  sessionStorage.removeItem(TOKEN);
  wantsToken = true;
  sayState($("link"), "warn", "a token is wanted");
  $("lost").hidden = true;
  $("forget").hidden = true;
  $("login-error").hidden = !isRefused;
  say($("login-error"), "The gateway does not know this token.");
  if (!$("login").open) $("login").showModal();
  $("token").select();
}

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value.trim());
  $("token").value = "";
  $("login").close();
  wantsToken = false;
});
// There is nothing to see without one.
$("login").addEventListener("cancel", (event) => event.preventDefault());

$("forget").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  location.reload();
});

/* ---------- the switch ---------- */

let wanted = true;

function showSwitch() {
  const policy = frame.gateway.policy;
  const isOn = !policy || !policy.in_force || policy.document.enabled;
  $("switch").disabled = !policy;
  $("switch").setAttribute("aria-checked", String(isOn));
  say($("switch-state"), isOn ? "on" : "off");
}

$("switch").addEventListener("click", () => {
  const { in_force: inForce, document: paper } = frame.gateway.policy;
  wanted = $("switch").getAttribute("aria-checked") !== "true";
  say($("confirm-title"), wanted ? "Let traffic pass again?" : "Stop all traffic?");
  const effect = wanted
    ? "Requests are served again on every worker at once."
    : "Every request is answered with 429 on every worker at once, until traffic is switched on again. Health checks still pass.";
  const limits = inForce ? "" : " No live policy is in force yet: this puts it in force, with its limit of " + count(paper.rateLimit) + " requests a second and its threshold of " + paper.circuitBreakerThreshold + " for breakers.";
  say($("confirm-text"), effect + limits);
  say($("confirm-yes"), wanted ? "Let traffic pass" : "Stop traffic");
  $("confirm-yes").className = wanted ? "strong" : "danger";
  $("confirm-error").hidden = true;
  $("confirm").showModal();
  $("confirm-no").focus();
});
$("confirm-no").addEventListener("click", () => $("confirm").close());

$("confirm-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("confirm-yes").disabled = true;
  try {
    const answer = await ask("/policy", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ enabled: wanted }) });
    if (answer.ok) return $("confirm").close();
    const why = await answer.json().catch(() => ({}));
    refuse([why.error || "The gateway answers with " + answer.status, why.detail].filter(Boolean).join(": "));
  } catch {
    refuse("The gateway cannot be reached.");
  } finally {
    $("confirm-yes").disabled = false;
  }
});

function refuse(why) {
  say($("confirm-error"), why);
  $("confirm-error").hidden = false;
}

/* ---------- words and numbers ---------- */

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function sayState(element, tone, text) {
  element.dataset.tone = tone;
  say(element, text);
}

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const count = (n) => (n < 10 ? tenths : whole).format(n);
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
const percent = (share) => whole.format(share * 100) + " %";

function duration(us) {
  if (!us) return "–";
  if (us < 1000) return whole.format(us) + " µs";
  if (us < 1e6) return three(us / 1e3) + " ms";
  return three(us / 1e6) + " s";
}

const three = (n) => (n < 10 ? n.toFixed(2) : n < 100 ? n.toFixed(1) : whole.format(n));

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const at = n > 0 ? Math.min(units.length - 1, Math.floor(Math.log2(n) / 10)) : 0;
  return three(n / 1024 ** at) + " " + units[at];
}

function uptime(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  return days ? days + " d " + hours + " h" : hours ? hours + " h " + minutes + " min" : minutes ? minutes + " min" : seconds + " s";
}

const loadTone = (share) => (share > 0.95 ? "bad" : share > 0.85 ? "warn" : "ok");

/* ---------- lists that keep their elements ---------- */

/** Makes `parent` hold one element for each item, in order; elements of before are kept by their key. */
function sync(parent, items, keyOf, create, update) {
  parent.kept = parent.kept || new Map();
  const seen = new Set();
  let at = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    if (seen.has(key)) continue;
    seen.add(key);
    let element = parent.kept.get(key);
    if (!element) {
      element = create(item);
      parent.kept.set(key, element);
    }
    update(element, item);
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
  for (const [key, element] of parent.kept) {
    if (!seen.has(key)) {
      element.remove();
      parent.kept.delete(key);
    }
  }
}

function row(classes) {
  return classes.map((className, at) => {
    const cell = make(at ? "td" : "th", className);
    if (!at) cell.scope = "row";
    return cell;
  });
}

function bar() {
  const element = make("div", "bar", make("span", "", make("span", "")), make("span", ""));
  element.firstElementChild.setAttribute("aria-hidden", "true");
  return element;
}

function setBar(element, share, tone, text) {
  element.dataset.tone = tone;
  element.firstElementChild.firstElementChild.style.width = Math.max(0, Math.min(1, share)) * 100 + "%";
  say(element.lastElementChild, text);
}

/* ---------- the page ---------- */

function draw() {
  const { gateway, second } = frame;
  say($("identity"), "version " + gateway.version + " · process " + gateway.pid + " · epoch " + gateway.epoch + " · up " + uptime(gateway.uptime_seconds));
  document.title = (second ? count(second.requests_per_second) + " req/s · " : "") + "Ringgate";
  $("forget").hidden = !token();
  showSwitch();
  drawTiles();
  drawPercentiles();
  drawClusters();
  drawWorkers();
  drawRejections();
  drawConfig();
  drawPolicy();
  drawCanvases();
}

function drawTiles() {
  const { gateway, second, minute } = frame;
  const alarm = (id, n) => {
    say($(id), count(n));
    $(id).classList.toggle("alarming", n > 0);
  };
  say($("t-requests"), second ? count(second.requests_per_second) : "–");
  alarm("t-errors", second ? second.errors_per_second : 0);
  alarm("t-rejected", second ? second.rejected_per_second : 0);
  say($("t-p50"), duration(minute.p50_us));
  say($("t-p99"), duration(minute.p99_us));
  say($("t-active"), count(frame.requests_active));
  say($("t-connections"), count(frame.connections_active));
  $("t-connections").title = count(frame.connections_idle) + " of them rest, at most " + count(gateway.max_connections);
  say($("t-memory"), bytes(gateway.memory_bytes));
}

const RANKS = [["p50", "p50_us"], ["p90", "p90_us"], ["p99", "p99_us"], ["p99.9", "p99_9_us"], ["p99.99", "p99_99_us"], ["max", "max_us"], ["requests", "count"]];

function drawPercentiles() {
  const of = (latency, key) => (!latency ? "–" : key === "count" ? count(latency.count) : duration(latency[key]));
  sync($("percentiles").tBodies[0], RANKS, ([name]) => name, ([name]) => {
    const cells = row(["", "number", "number"]);
    say(cells[0], name);
    return make("tr", "", ...cells);
  }, (line, [, key]) => {
    say(line.cells[1], of(frame.second && frame.second.latency, key));
    say(line.cells[2], of(frame.minute, key));
  });
}

function drawClusters() {
  const all = frame.clusters;
  const omitted = frame.clusters_omitted;
  say($("clusters-note"), all.length ? all.length + omitted + (all.length + omitted === 1 ? " cluster" : " clusters") + (omitted ? ", " + all.length + " shown" : "") : "This configuration has none.");
  sync($("clusters"), all, (cluster) => cluster.name, makeCluster, updateCluster);
}

function makeCluster() {
  const head = make("div", "cluster-head", make("h3", ""), make("p", ""), bar());
  const titles = [["endpoint", ""], ["health", ""], ["breaker", ""], ["saturation", ""], ["latency", "number roomy"], ["weight", "number roomy"]];
  const headings = titles.map(([title, className]) => {
    const heading = make("th", className, title);
    heading.scope = "col";
    return heading;
  });
  const table = make("table", "endpoints", make("thead", "", make("tr", "", ...headings)), make("tbody", ""));
  return make("article", "cluster", head, table, make("p", "note"));
}

function updateCluster(element, cluster) {
  const [head, table, note] = element.children;
  const [name, facts, load] = head.children;
  say(name, cluster.name);
  const fit = cluster.endpoints_fit + " of " + (cluster.endpoints.length + cluster.endpoints_omitted) + " fit";
  const parts = [cluster.balance, fit, count(cluster.requests_per_second) + " req/s", "p50 " + duration(cluster.minute.p50_us), "p99 " + duration(cluster.minute.p99_us)];
  if (cluster.waiting) parts.push(cluster.waiting + " waiting");
  if (cluster.admission) parts.push("admits " + cluster.admission.limit + ", shed " + count(cluster.admission.shed));
  if (cluster.slow_tiers.length) parts.push("slow priorities " + cluster.slow_tiers.join(", "));
  say(facts, parts.join(" · "));
  const isCapped = cluster.max_connections > 0;
  setBar(load, cluster.saturation, loadTone(cluster.saturation), isCapped ? count(cluster.connections_active) + " / " + count(cluster.max_connections) + " conn." : count(cluster.connections_active) + " conn., no cap");
  load.firstElementChild.hidden = !isCapped;
  sync(table.tBodies[0], cluster.endpoints, (one) => one.address, () => {
    const cells = row(["mono", "", "", "", "number roomy", "number roomy"]);
    cells[1].append(make("span", "state"), make("div", "note"));
    cells[2].append(make("span", "state"));
    cells[3].append(bar());
    return make("tr", "", ...cells);
  }, (line, endpoint) => updateEndpoint(line, endpoint, cluster));
  const omitted = cluster.endpoints_omitted;
  say(note, omitted ? omitted + " more endpoints are not shown; those that are not fit come first" : "");
  note.hidden = !omitted;
}

const BREAKERS = { closed: ["ok", "closed"], half_open: ["warn", "half-open"], open: ["bad", "open"] };

function healthOf(endpoint) {
  if (endpoint.weight === 0) return ["warn", "drained"];
  if (!endpoint.fit) return ["bad", endpoint.unfit.replace("unfit: ", "out: ")];
  return endpoint.resting ? ["warn", "resting"] : ["ok", endpoint.probe === "healthy" ? "healthy" : "fit"];
}

function updateEndpoint(line, endpoint, cluster) {
  const [address, health, breaker, load, latency, weight] = line.cells;
  say(address, endpoint.address);
  sayState(health.firstElementChild, ...healthOf(endpoint));
  const details = [endpoint.ejected ? "ejected" : "", endpoint.probe === "unhealthy" || endpoint.probe === "pending" ? "probe: " + (endpoint.probe_detail || endpoint.probe) : "", endpoint.priority ? "priority " + endpoint.priority : ""].filter(Boolean);
  say(health.lastElementChild, details.join(" · "));
  health.lastElementChild.hidden = !details.length;
  sayState(breaker.firstElementChild, ...(BREAKERS[endpoint.breaker] || ["idle", endpoint.breaker]));
  const share = endpoint.capacity ? endpoint.in_flight / endpoint.capacity : 0;
  setBar(load.firstElementChild, share, loadTone(share), count(endpoint.in_flight) + (endpoint.capacity ? " / " + count(endpoint.capacity) : " in flight"));
  load.firstElementChild.firstElementChild.hidden = !endpoint.capacity;
  say(latency, duration(endpoint.latency_us));
  say(weight, String(endpoint.weight));
}

function drawWorkers() {
  const { io } = frame.gateway;
  say($("io"), io.driver + " · " + frame.workers.length + (frame.workers.length === 1 ? " worker" : " workers"));
  sync($("workers"), frame.workers, (worker) => worker.index, () => {
    const cells = row(["", "", "number", "number", "number roomy", "number roomy"]);
    cells[1].append(bar());
    return make("tr", "", ...cells);
  }, (line, worker) => {
    const [name, load, rate, connections, requests, stalls] = line.cells;
    say(name, worker.index + (worker.cpu === null ? "" : " on CPU " + worker.cpu) + (worker.epoch === frame.gateway.epoch ? "" : ", epoch " + worker.epoch));
    setBar(load.firstElementChild, worker.busy || 0, loadTone(worker.busy || 0), worker.busy === null ? "–" : percent(worker.busy));
    say(rate, count(worker.requests_per_second));
    say(connections, count(worker.connections_active));
    say(requests, count(worker.requests_active));
    say(stalls, worker.stalls ? count(worker.stalls) + ", max " + duration(worker.stall_max_ms * 1000) : "0");
  });
}

function drawRejections() {
  const all = frame.rejections;
  $("no-rejections").hidden = all.length > 0;
  $("rejections-table").hidden = !all.length;
  const most = Math.max(...all.map((one) => one.total), 1);
  sync($("rejections"), all, (one) => one.reason, () => {
    const cells = row(["mono", "roomy", "number", "number"]);
    cells[1].append(bar());
    return make("tr", "", ...cells);
  }, (line, one) => {
    const [reason, share, now, total] = line.cells;
    say(reason, one.reason);
    setBar(share.firstElementChild, one.total / most, "bad", "");
    share.firstElementChild.lastElementChild.hidden = true;
    say(now, count(one.per_second));
    say(total, count(one.total));
  });
}

function drawFacts(list, facts) {
  const pairs = facts.filter(Boolean);
  sync(list, pairs.flatMap(([name, text, tone]) => [{ name, tag: "dt", text: name }, { name, tag: "dd", text, tone }]), (one) => one.tag + one.name, (one) => make(one.tag, ""), (element, one) => {
    say(element, one.text);
    element.className = one.tone ? "state" : "";
    if (one.tone) element.dataset.tone = one.tone;
  });
}

function drawConfig() {
  const { gateway } = frame;
  const reload = gateway.last_reload;
  const upgrade = gateway.last_upgrade;
  drawFacts($("config"), [
    ["Epoch", String(gateway.epoch)],
    ["Last reload", reload ? (reload.ok ? "taken" : "refused") + " at " + local(reload.at) + ", by " + reload.trigger : "none since the start", reload ? (reload.ok ? "ok" : "bad") : ""],
    upgrade && ["Last upgrade", (upgrade.ok ? "done" : "failed") + " at " + local(upgrade.at) + (upgrade.error ? ": " + upgrade.error : ""), upgrade.ok ? "ok" : "bad"],
    ...trialFacts(gateway.rollout),
    ["Listeners", gateway.listeners.map((one) => one.name + " " + one.address).join(", ")],
    ["Started", local(gateway.started)],
  ]);
  const error = reload && !reload.ok ? reload.error || "" : "";
  say($("reload-error"), error);
  $("reload-error").hidden = !error;
}

const OUTCOMES = { promoted: ["ok", "promoted"], rolled_back: ["bad", "rolled back"], superseded: ["warn", "given up for another"] };

/** What is on trial beside what is in force, or how the last trial ended. */
function trialFacts({ running, last, files_rolled_back: isRolledBack }) {
  const facts = [];
  if (running) {
    facts.push(["On trial", "trial " + running.number + ", " + percent(running.share) + " of new connections, until " + local(running.decided_by), "warn"]);
    facts.push(["Trial against", sideFacts(running.candidate) + " – " + sideFacts(running.current)]);
  } else if (last) {
    const [tone, outcome] = OUTCOMES[last.outcome] || ["", last.outcome];
    facts.push(["Last trial", "trial " + last.number + " " + outcome + " at " + local(last.at) + ": " + last.reason, tone]);
  }
  if (isRolledBack) facts.push(["Files", "say what was rolled back", "bad"]);
  return facts;
}

function sideFacts(side) {
  const failed = side.gateway_failed + side.upstream_failed;
  return count(side.requests) + " requests, " + count(failed) + " failed, p99 " + duration(side.p99_ms * 1000);
}

function drawPolicy() {
  const policy = frame.gateway.policy;
  if (!policy) return drawFacts($("policy"), [["In force", "no"]]);
  const paper = policy.document;
  drawFacts($("policy"), [
    ["In force", policy.in_force ? "yes" : "no: nothing is limited by it"],
    ["Traffic", paper.enabled ? "on" : "off", paper.enabled ? "ok" : "bad"],
    ["Rate limit", count(paper.rateLimit) + " requests/s"],
    ["Breaker threshold", paper.circuitBreakerThreshold + " failures in a row"],
    ["Updated", local(paper.updatedAt)],
  ]);
  say($("policy-error"), policy.error || "");
  $("policy-error").hidden = !policy.error;
}

function local(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toLocaleString("en-GB");
}

/* ---------- routes, which are asked for now and then ---------- */

async function askRoutes() {
  if (document.hidden || !frame || wantsToken || beganToLose) return;
  try {
    const answer = await ask("/latency");
    if (answer.ok) drawRoutes(await answer.json());
  } catch {
    // The stream of events tells when the gateway is gone.
  }
}

function drawRoutes(page) {
  const all = page.routes.filter((route) => route.minute.count > 0).sort((a, b) => b.minute.count - a.minute.count);
  const shown = all.slice(0, 20);
  $("no-routes").hidden = shown.length > 0;
  $("routes-table").hidden = !shown.length;
  say($("routes-note"), shown.length ? "of the last " + whole.format(page.window_seconds) + " s" + (all.length > shown.length ? ", the busiest " + shown.length + " of " + all.length : "") : "");
  sync($("routes"), shown, (route) => route.name, () => make("tr", "", ...row(["", "number", "number", "number", "number roomy", "number roomy"])), (line, route) => {
    const { minute } = route;
    const texts = [route.name, count(minute.count / Math.max(page.window_seconds, 1)), duration(minute.p50_us), duration(minute.p99_us), duration(minute.p99_9_us), duration(minute.max_us)];
    texts.forEach((text, at) => say(line.cells[at], text));
  });
}

/* ---------- what changed ---------- */

function noteChanges(before, now) {
  if (!before) return;
  const [old, gateway] = [before.gateway, now.gateway];
  if (old.pid !== gateway.pid) note("warn", "process " + gateway.pid + " took the place of " + old.pid);
  if (old.epoch !== gateway.epoch) note("", "epoch " + gateway.epoch + " published");
  const reload = gateway.last_reload;
  if (reload && !reload.ok && (!old.last_reload || old.last_reload.at !== reload.at)) note("bad", "reload refused, the last configuration stays");
  noteTrial(old.rollout, gateway.rollout);
  notePolicy(old.policy, gateway.policy);
  const known = new Map(before.clusters.flatMap((cluster) => cluster.endpoints.map((one) => [cluster.name + "\n" + one.address, one])));
  for (const cluster of now.clusters) {
    for (const endpoint of cluster.endpoints) noteEndpoint(known.get(cluster.name + "\n" + endpoint.address), endpoint, cluster.name);
  }
}

function noteTrial({ running: was, last: before }, { running, last }) {
  if (last && last.number !== (before && before.number)) note((OUTCOMES[last.outcome] || [""])[0], "trial " + last.number + " " + (OUTCOMES[last.outcome] || ["", last.outcome])[1]);
  if (running && running.number !== (was && was.number)) note("warn", "trial " + running.number + " begins");
}

function notePolicy(old, policy) {
  if (!old || !policy) return;
  const [was, is] = [old.document, policy.document];
  if (was.enabled !== is.enabled) note(is.enabled ? "ok" : "bad", "traffic switched " + (is.enabled ? "on" : "off"));
  if (was.rateLimit !== is.rateLimit) note("", "rate limit " + count(was.rateLimit) + " → " + count(is.rateLimit) + " requests/s");
  if (was.circuitBreakerThreshold !== is.circuitBreakerThreshold) note("", "breaker threshold " + was.circuitBreakerThreshold + " → " + is.circuitBreakerThreshold);
}

function noteEndpoint(old, endpoint, cluster) {
  if (!old) return;
  const whose = cluster + " " + endpoint.address + ": ";
  if (old.breaker !== endpoint.breaker) note(BREAKERS[endpoint.breaker]?.[0] || "", whose + "breaker " + (BREAKERS[endpoint.breaker]?.[1] || endpoint.breaker));
  else if (old.fit !== endpoint.fit || old.weight !== endpoint.weight) note(healthOf(endpoint)[0], whose + healthOf(endpoint)[1]);
}

function note(tone, text) {
  const time = make("time", "", clock(Date.now()));
  const words = make("span", "", text);
  words.dataset.tone = tone;
  $("changes").prepend(make("li", "", time, words));
  while ($("changes").children.length > 50) $("changes").lastElementChild.remove();
  $("no-changes").hidden = true;
}

/* ---------- canvases ---------- */

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function sheet(id) {
  const canvas = $(id);
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "10px system-ui, sans-serif";
  return { pen, width, height, left: 46, bottom: height - 16 };
}

function drawCanvases() {
  drawHeat();
  drawRate();
}

/** The left edge of a second: the last one ends at the right edge. */
function place(paper, second) {
  const latest = past.length ? past[past.length - 1].unix_ms : 0;
  const step = (paper.width - paper.left) / SECONDS;
  return [paper.width - step * (1 + Math.round((latest - second.unix_ms) / 1000)), step];
}

function drawTimes(paper) {
  const { pen, width, left, bottom } = paper;
  pen.fillStyle = colour("--muted");
  pen.textBaseline = "alphabetic";
  for (const [seconds, text, align] of [[180, "3 min ago", "left"], [120, "2 min", "center"], [60, "1 min", "center"], [0, "now", "right"]]) {
    pen.textAlign = align;
    pen.fillText(text, width - ((width - left) * seconds) / SECONDS, bottom + 13);
  }
}

/** Rows that have anything, and some beside them: at least six doublings. */
function heatRange() {
  const rows = past.flatMap((second) => second.heat.map(([number]) => number));
  let [low, high] = rows.length ? [Math.min(...rows) - 2, Math.max(...rows) + 3] : [16, 60];
  while (high - low < 24) {
    low -= 1;
    high += 1;
  }
  return [Math.max(low, 0), Math.min(high, bounds.length - 1)];
}

function drawHeat() {
  const paper = sheet("heat");
  const { pen, width, left, bottom } = paper;
  if (!bounds.length || width < 80) return;
  const [low, high] = heatRange();
  const tall = (bottom - 4) / (high - low);
  const yOf = (number) => bottom - (number - low) * tall;
  const yAt = (us) => {
    const number = bounds.findIndex((bound, at) => us >= bound && us < bounds[at + 1]);
    if (number < 0) return us < bounds[0] ? bottom : 4;
    return yOf(number + (us - bounds[number]) / (bounds[number + 1] - bounds[number]));
  };
  pen.strokeStyle = colour("--faint");
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (let us = 10; us < 1e9; us *= 10) {
    if (us <= bounds[low] || us >= bounds[high]) continue;
    const y = Math.round(yAt(us)) + 0.5;
    pen.beginPath();
    pen.moveTo(left, y);
    pen.lineTo(width, y);
    pen.stroke();
    pen.fillStyle = colour("--muted");
    pen.fillText(us < 1e3 ? us + " µs" : us < 1e6 ? us / 1e3 + " ms" : us / 1e6 + " s", left - 6, Math.max(y, 8));
  }
  const heat = colour("--heat");
  const most = Math.max(...past.flatMap((second) => second.heat.map(([, n]) => n)), 1);
  for (const second of past) {
    const [x, step] = place(paper, second);
    if (x < left - 0.5) continue;
    for (const [number, n] of second.heat) {
      const depth = 0.14 + 0.86 * (Math.log1p(n) / Math.log1p(most));
      pen.fillStyle = "rgba(" + heat + ", " + depth.toFixed(3) + ")";
      pen.fillRect(x, yOf(number + 1), Math.max(step - 0.4, 1), Math.max(tall - 0.4, 1));
    }
  }
  drawLine(paper, (second) => second.latency.p99_us, yAt, colour("--warn"), []);
  drawLine(paper, (second) => second.latency.p50_us, yAt, colour("--ink"), [2, 3]);
  drawTimes(paper);
  const latest = frame && frame.second ? frame.second.latency : null;
  $("heat").setAttribute("aria-label", "Latency heatmap of the last three minutes" + (latest ? ": p50 " + duration(latest.p50_us) + ", p99 " + duration(latest.p99_us) + " in the last second" : ""));
}

/** A line through the seconds that have a value, broken where one is missing. */
function drawLine(paper, valueOf, yOf, stroke, dashes) {
  const { pen, left } = paper;
  pen.strokeStyle = stroke;
  pen.lineWidth = 1.5;
  pen.setLineDash(dashes);
  pen.beginPath();
  let last = null;
  for (const second of past) {
    const value = valueOf(second);
    const [x, step] = place(paper, second);
    if (value && x >= left - 0.5) {
      if (last !== null && x - last < 2.5 * step) pen.lineTo(x + step / 2, yOf(value));
      else pen.moveTo(x + step / 2, yOf(value));
      last = x;
    }
  }
  pen.stroke();
  pen.setLineDash([]);
  pen.lineWidth = 1;
}

/** The next round number: 1, 2 or 5 times a power of ten. */
function roundUp(n) {
  const power = 10 ** Math.floor(Math.log10(Math.max(n, 1)));
  return [1, 2, 5, 10].map((times) => times * power).find((round) => round >= n);
}

function drawRate() {
  const paper = sheet("rate");
  const { pen, width, left, bottom } = paper;
  if (width < 80) return;
  const top = roundUp(Math.max(...past.map((second) => second.requests_per_second), 1));
  const yOf = (n) => bottom - (n / top) * (bottom - 8);
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const n of [0, top / 2, top]) {
    const y = Math.round(yOf(n)) + 0.5;
    pen.strokeStyle = colour("--faint");
    pen.beginPath();
    pen.moveTo(left, y);
    pen.lineTo(width, y);
    pen.stroke();
    pen.fillStyle = colour("--muted");
    pen.fillText(count(n), left - 6, Math.max(y, 8));
  }
  pen.fillStyle = "rgba(" + colour("--heat") + ", .16)";
  pen.beginPath();
  for (const second of past) {
    const [x, step] = place(paper, second);
    if (x >= left - 0.5) pen.rect(x, yOf(second.requests_per_second), step + 0.5, bottom - yOf(second.requests_per_second));
  }
  pen.fill();
  drawLine(paper, (second) => second.requests_per_second, yOf, colour("--accent"), []);
  drawLine(paper, (second) => Math.max(second.errors_per_second, second.rejected_per_second), yOf, colour("--bad"), []);
  drawTimes(paper);
  const second = frame && frame.second;
  $("rate").setAttribute("aria-label", "Requests per second of the last three minutes" + (second ? ", " + count(second.requests_per_second) + " now" : ""));
}

new ResizeObserver(drawCanvases).observe($("heat"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCanvases);
setInterval(watch, 500);
setInterval(askRoutes, 5000);
setTimeout(askRoutes, 1200);
listen();
