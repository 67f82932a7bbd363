"""Medians, spreads and ratios of the rounds, as Markdown."""

from statistics import median

import variants

FLOOR = "relay"
OURS = ("ringgate", "against")
# Kinds of scenarios whose load side sends as fast as it is answered.
AT_SATURATION = ("saturate", "streams", "calls", "handshakes", "policed", "watched")
# Per cent of one CPU; this much the system itself takes for its own housekeeping.
DISTURBED = 5
# Per cent of the load side's CPU from which on requests wait for the load side itself.
SATURATED = 90


def spread(values, form):
    """`median (least..most)`."""
    if not values:
        return "-"
    middle = form.format(median(values))
    least, most = form.format(min(values)), form.format(max(values))
    return middle if least == most else f"{middle} ({least}..{most})"


def middle(values, form):
    return form.format(median(values)) if values else "-"


def column(rounds, key, scale=1.0):
    return [figures[key] * scale for figures in rounds if key in figures]


def ratios(rounds, other, key):
    """Round by round, so that what slowed the machine for a while slowed both."""
    pairs = zip(rounds, other)
    return [mine[key] / theirs[key] for mine, theirs in pairs if theirs.get(key) and key in mine]


def best_peer(results, key):
    """The peer with the least of something."""
    peers = {
        name: median(column(rounds, key))
        for name, rounds in results.items()
        if name != FLOOR and name not in OURS and column(rounds, key)
    }
    return min(peers, key=peers.get) if peers else None


def table(scenario, results):
    """The Markdown of one scenario: `results` maps contenders to their rounds."""
    shapes = {kind: _load for kind in AT_SATURATION}
    shapes |= {"rate": _load, "idle": _idle, "reload": _reload, "spread": _spread, "overload": _overload}
    shape = _by_cast.get(scenario.cast) or shapes[scenario.kind]
    rows = shape(scenario, results)
    lines = [f"### {scenario.name}: {scenario.title}", ""]
    note = _note(scenario, results)
    if note:
        lines += [note, ""]
    lines.append("| " + " | ".join(rows[0]) + " |")
    lines.append("|---|" + "--:|" * (len(rows[0]) - 1))
    lines += ["| " + " | ".join(row) + " |" for row in rows[1:]]
    return "\n".join(lines + _failures(results)) + "\n"


def _load(scenario, results):
    # At saturation the figure is CPU; at a fixed rate it is the tail.
    key = "cpu_us" if scenario.kind in AT_SATURATION else "p999_us"
    best = best_peer(results, key)
    what = "CPU" if key == "cpu_us" else "p99.9"
    rows = [[
        "", "CPU us/request", "of it user", f"{what} / relay", f"{what} / {best or 'peer'}", "requests/s",
        "p50 us", "p99 us", "p99.9 us", "RSS MiB", "switches/request", "reuse", "load side busy",
    ]]
    before = results.get("against")
    if before:
        rows[0].insert(5, f"{what} / against")
    for name, rounds in results.items():
        floor, peer = results.get(FLOOR, []), results.get(best, [])
        row = [
            name,
            spread(column(rounds, "cpu_us"), "{:.2f}"),
            spread(column(rounds, "user_us"), "{:.2f}"),
            spread(ratios(rounds, floor, key), "{:.2f}"),
            spread(ratios(rounds, peer, key), "{:.2f}"),
            spread(column(rounds, "per_second"), "{:.0f}"),
            spread(column(rounds, "p50_us"), "{:.0f}"),
            spread(column(rounds, "p99_us"), "{:.0f}"),
            spread(column(rounds, "p999_us"), "{:.0f}"),
            middle(column(rounds, "rss_kib", 1 / 1024), "{:.1f}"),
            middle(column(rounds, "switches"), "{:.3f}"),
            middle(column(rounds, "reuse", 100), "{:.2f} %"),
            middle(column(rounds, "load_busy", 100), "{:.0f} %"),
        ]
        if before:
            row.insert(5, spread(ratios(rounds, before, key), "{:.2f}"))
        rows.append(row)
    return rows


def _strategies(_scenario, results):
    rows = [[
        "", "CPU us/request", "of it user", f"CPU / {variants.SINGLE}", "beyond the relay's, %", f"CPU / {variants.PLAIN}",
        "CPU / against", "requests/s", "p50 us", "p99 us", "switches/request", "reuse", "requests by origin, %",
        "load side busy",
    ]]
    for name, rounds in results.items():
        before, own = _split(name)
        single = results.get(before + variants.SINGLE, [])
        rows.append([
            name,
            spread(column(rounds, "cpu_us"), "{:.2f}"),
            spread(column(rounds, "user_us"), "{:.2f}"),
            spread(ratios(rounds, single, "cpu_us"), "{:.3f}"),
            spread(_beyond(rounds, single, results) if own in variants.OF_THREE else [], "{:.1f}"),
            spread(ratios(rounds, results.get(before + variants.PLAIN, []), "cpu_us"), "{:.3f}"),
            spread(ratios(rounds, results.get(variants.prefix("against") + own, []), "cpu_us"), "{:.3f}"),
            spread(column(rounds, "per_second"), "{:.0f}"),
            spread(column(rounds, "p50_us"), "{:.0f}"),
            spread(column(rounds, "p99_us"), "{:.0f}"),
            middle(column(rounds, "switches"), "{:.3f}"),
            middle(column(rounds, "reuse", 100), "{:.2f} %"),
            " ".join(f"{median(each) * 100:.0f}" for each in zip(*(one["shares"] for one in rounds if "shares" in one))),
            middle(column(rounds, "load_busy", 100), "{:.0f} %"),
        ])
    return rows


def _variants(first):
    """Variants of ours, and others, beside `first`; at a fixed rate by their tails."""

    def shape(scenario, results):
        key, what = ("cpu_us", "CPU") if scenario.kind in AT_SATURATION else ("p99_us", "p99")
        peers = [name for name in ("relay", "nginx", "haproxy", "envoy") if name in results]
        rows = [[
            "", "CPU us/request", "of it user", f"{what} / {first}", *(f"{what} / {peer}" for peer in peers), "requests/s",
            "p50 us", "p99 us", "p99.9 us", "RSS MiB", "switches/request", "log lines lost", "spans lost",
            "a scrape, ms", "its page, KiB", "load side busy",
        ]]
        for name, rounds in results.items():
            rows.append([
                name,
                spread(column(rounds, "cpu_us"), "{:.2f}"),
                spread(column(rounds, "user_us"), "{:.2f}"),
                spread(ratios(rounds, results.get(_split(name)[0] + first, []), key), "{:.3f}"),
                *(spread(ratios(rounds, results[peer], key), "{:.2f}") for peer in peers),
                spread(column(rounds, "per_second"), "{:.0f}"),
                spread(column(rounds, "p50_us"), "{:.0f}"),
                spread(column(rounds, "p99_us"), "{:.0f}"),
                spread(column(rounds, "p999_us"), "{:.0f}"),
                middle(column(rounds, "rss_kib", 1 / 1024), "{:.1f}"),
                middle(column(rounds, "switches"), "{:.3f}"),
                middle(column(rounds, "dropped", 100), "{:.2f} %"),
                middle(column(rounds, "spans_dropped", 100), "{:.2f} %"),
                spread([took for one in rounds for took in one.get("scrape_ms", [])], "{:.1f}"),
                middle(column(rounds, "page_kib"), "{:.0f}"),
                middle(column(rounds, "load_busy", 100), "{:.0f} %"),
            ])
        return rows

    return shape


def _beyond(rounds, single, results):
    """What three endpoints cost more than one, in per cent, without what they cost the relay more."""
    floors = (results.get(name, []) for name in (variants.FLOOR_EACH, variants.FLOOR_SINGLE))
    together = zip(rounds, single, *floors)
    known = ([figures["cpu_us"] for figures in four] for four in together if all("cpu_us" in figures for figures in four))
    return [((three - one) - (floor_three - floor_one)) / one * 100 for three, one, floor_three, floor_one in known]


def _spread(_scenario, results):
    rows = [[
        "", "connections by worker", "p50 us", "p99 us", "p99.9 us", f"p99 / {variants.KEPT}", "requests/s",
        "CPU us/request", "switches/request", "load side busy",
    ]]
    for name, rounds in results.items():
        kept = results.get(_split(name)[0] + variants.KEPT, [])
        rows.append([
            name,
            ", ".join(sorted({" + ".join(map(str, one["held"])) for one in rounds if one.get("held")})),
            spread(column(rounds, "p50_us"), "{:.0f}"),
            spread(column(rounds, "p99_us"), "{:.0f}"),
            spread(column(rounds, "p999_us"), "{:.0f}"),
            spread(ratios(rounds, kept, "p99_us"), "{:.2f}"),
            spread(column(rounds, "per_second"), "{:.0f}"),
            spread(column(rounds, "cpu_us"), "{:.2f}"),
            middle(column(rounds, "switches"), "{:.3f}"),
            middle(column(rounds, "load_busy", 100), "{:.0f} %"),
        ])
    return rows


def _split(name):
    """What a variant's name begins with, and the rest of it."""
    before = variants.prefix("against")
    return (before, name.removeprefix(before)) if name.startswith(before) else ("", name)


def _idle(_scenario, results):
    rows = [["", "bytes per idle connection", "RSS before, MiB", "RSS with them, MiB", "CPU while idle, us/s"]]
    for name, rounds in results.items():
        rows.append([
            name,
            spread(column(rounds, "bytes_each"), "{:.0f}"),
            spread(column(rounds, "base_kib", 1 / 1024), "{:.1f}"),
            spread(column(rounds, "rss_kib", 1 / 1024), "{:.1f}"),
            spread(column(rounds, "idle_cpu_us_per_s"), "{:.0f}"),
        ])
    return rows


def _reload(_scenario, results):
    rows = [[
        "", "failed requests", "p99 before, us", "p99 during, us", "during / before", "p99.9 during, us",
        "adopted after, ms", "reloads", "RSS MiB",
    ]]
    for name, rounds in results.items():
        worse = [figures["p99_us"] / figures["before_p99_us"] for figures in rounds if figures.get("before_p99_us")]
        rows.append([
            name,
            str(sum(sum(figures["failures"].values()) for figures in rounds)),
            spread(column(rounds, "before_p99_us"), "{:.0f}"),
            spread(column(rounds, "p99_us"), "{:.0f}"),
            spread(worse, "{:.2f}"),
            spread(column(rounds, "p999_us"), "{:.0f}"),
            spread([value for figures in rounds for value in figures.get("adopted_ms", [])], "{:.0f}"),
            f"{sum(column(rounds, 'reloads')):.0f}",
            spread(column(rounds, "rss_kib", 1 / 1024), "{:.1f}"),
        ])
    return rows


def _overload(_scenario, results):
    rows = [[
        "", "p99 of a quarter of it, us", "p99 of what was let in, us", "p99 / unloaded", "p50 us", "answers/s of load", "shed, %",
        "CPU us/answer", "RSS MiB", "load side busy",
    ]]
    for name, rounds in results.items():
        worse = [figures["p99_us"] / figures["calm_p99_us"] for figures in rounds if figures.get("calm_p99_us")]
        shed = [one["shed"] / (one["shed"] + one["requests"]) * 100 for one in rounds if "shed" in one]
        rows.append([
            name,
            spread(column(rounds, "calm_p99_us"), "{:.0f}"),
            spread(column(rounds, "p99_us"), "{:.0f}"),
            spread(worse, "{:.2f}"),
            spread(column(rounds, "p50_us"), "{:.0f}"),
            spread(column(rounds, "per_second"), "{:.0f}"),
            spread(shed, "{:.1f}"),
            spread(column(rounds, "cpu_us"), "{:.2f}"),
            middle(column(rounds, "rss_kib", 1 / 1024), "{:.1f}"),
            middle(column(rounds, "load_busy", 100), "{:.0f} %"),
        ])
    return rows


def _note(scenario, results):
    every = [figures for rounds in results.values() for figures in rounds]
    notes = []
    rates = column(every, "rate")
    if rates:
        notes.append(f"{max(rates):.0f} requests/s for everybody, latency from the instant a request was due.")
    busy = column(every, "load_busy", 100)
    if scenario.kind == "rate" and busy and median(busy) > SATURATED:
        notes.append(f"**The load side used {spread(busy, '{:.0f}')} % of its CPU: these tails are partly its own.**")
    others = column(every, "others_busy", 100)
    if others and max(others) > DISTURBED:
        notes.append(f"**Disturbed: other programs took {spread(others, '{:.0f}')} % of a CPU meanwhile.**")
    return " ".join(notes)


def _failures(results):
    lines = []
    for name, rounds in results.items():
        total = {}
        for figures in rounds:
            for kind, count in figures["failures"].items():
                total[kind] = total.get(kind, 0) + count
        if total:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(total.items()))
            lines += ["", f"**{name} failed: {kinds}**"]
    return lines


_by_cast = {
    variants.strategies: _strategies,
    variants.policies: _variants(variants.BARE),
    variants.limits: _variants(variants.UNLIMITED),
    variants.seeing: _variants(variants.UNSEEN),
    variants.scraped: _variants(variants.UNSCRAPED),
}
