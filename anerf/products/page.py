"""One self-contained page: its style for light and dark, and how tables and text get into it."""

import html
from collections.abc import Sequence

# (light, dark); all text has a contrast of 4.5 or more on paper, panel and ground.
PALETTE = {
    "paper": ("#ffffff", "#14161a"),
    "panel": ("#f3f4f7", "#1e2127"),
    "ground": ("#eceef1", "#1b1e23"),
    "line": ("#d3d7df", "#3a3f4a"),
    "ink": ("#1b1d22", "#e9ebef"),
    "soft": ("#555c68", "#a9b0bd"),
    "bar": ("#4a76a8", "#6f9fd6"),
    "gps": ("#b0125b", "#ff7ab0"),
    "note": ("#1d5fa8", "#8cc0f5"),
    "warning": ("#8a5200", "#f2b755"),
    "stop": ("#b3261e", "#ff8f85"),
    "s0": ("#1257b3", "#7ab6ff"),
    "s1": ("#a83e00", "#ffab70"),
    "s2": ("#7a2fb0", "#d5a8ff"),
    "s3": ("#00665a", "#56d8c2"),
    "s4": ("#8a1c52", "#ff93c3"),
    "s5": ("#5b6000", "#cdd54f"),
    "e0": ("#1257b3", "#7ab6ff"),
    "e1": ("#a83e00", "#ffab70"),
    "e2": ("#00665a", "#56d8c2"),
    "e3": ("#7a2fb0", "#d5a8ff"),
    "e4": ("#9c1b55", "#ff93c3"),
    "e5": ("#5b6000", "#cdd54f"),
    "e6": ("#00607f", "#66d3f7"),
    "e7": ("#6f4218", "#dcae80"),
}
N_SPLIT_COLORS, N_EXPERT_COLORS = 6, 8

_STYLE = """
* { box-sizing: border-box; }
body { margin:0 auto; padding:28px 24px 60px; max-width:980px; background:var(--paper); color:var(--ink);
  font:16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size:28px; line-height:1.2; margin:0 0 4px; overflow-wrap:anywhere; }
h2 { font-size:20px; margin:40px 0 10px; padding-bottom:6px; border-bottom:1px solid var(--line); }
h3 { font-size:16px; margin:24px 0 8px; overflow-wrap:anywhere; }
p, ul { margin:8px 0; }
.soft, figcaption { color:var(--soft); }
figure { margin:12px 0; overflow-x:auto; }
figcaption { font-size:14px; }
.findings { list-style:none; padding:0; }
.finding { display:flex; gap:12px; padding:9px 12px; margin:6px 0; background:var(--panel);
  border-left:5px solid var(--note); }
.finding b { flex:0 0 104px; white-space:nowrap; color:var(--note); }
.finding.warning { border-color:var(--warning); } .finding.warning b { color:var(--warning); }
.finding.stop { border-color:var(--stop); } .finding.stop b { color:var(--stop); }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; font-size:15px; }
th, td { text-align:left; vertical-align:top; padding:5px 14px 5px 0; border-bottom:1px solid var(--line); }
th { font-weight:600; color:var(--soft); }
td.n, th.n { text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap; }
td.file { overflow-wrap:anywhere; }
.bars { display:inline-block; width:130px; }
.share { display:block; height:11px; min-width:1px; border-radius:2px; background:currentColor; }
.legend { display:flex; flex-wrap:wrap; gap:4px 20px; font-size:14px; color:var(--ink); }
.legend span { display:inline-flex; align-items:center; gap:6px; }
.chip { width:14px; height:14px; border-radius:3px; background:currentColor; }
.swatch { width:20px; height:20px; fill:var(--ink); }
.rule { width:24px; height:0; border-top:2px solid currentColor; }
.rule.dashed { border-top-style:dashed; }
.pair { display:grid; grid-template-columns:repeat(auto-fit, minmax(340px, 1fr)); gap:8px 24px; }
svg.map, svg.chart { display:block; max-width:100%; height:auto; }
svg.map { margin:0 auto; min-width:600px; }
svg text { font-size:13px; fill:var(--soft); }
svg text.number { font-size:inherit; font-weight:700; }
svg .halo { fill:var(--ink); stroke:var(--ground); stroke-width:3px; paint-order:stroke;
  stroke-linejoin:round; }
svg.chart .halo { stroke:var(--paper); }
svg.map text.number.halo { stroke-width:4px; }
.ground { fill:var(--ground); }
.frame { fill:none; stroke:var(--line); }
.points { opacity:.8; }
.scale { fill:none; stroke:var(--ink); stroke-width:2; }
.north { fill:var(--ink); }
.scenebox { fill:none; stroke:var(--ink); stroke-width:1.6; }
.camera { stroke:var(--ground); stroke-width:1; paint-order:stroke; }
.faint { opacity:.45; }
.gps { stroke:var(--gps); stroke-width:1.1; opacity:.85; }
.gpsend { fill:var(--gps); }
.region { fill-opacity:.17; stroke-width:2; stroke-opacity:.9; }
.expertbox { fill:none; stroke-width:1.3; stroke-dasharray:7 5; }
.grid { stroke:var(--line); }
.axis { stroke:var(--soft); }
.bar { fill:var(--bar); }
.mark { stroke:var(--ink); stroke-width:1.5; stroke-dasharray:5 4; }
.course { fill:none; stroke:var(--s0); stroke-width:2; }
@media print { body { max-width:none; } h2 { break-after:avoid; } svg { break-inside:avoid; } }
"""


def _style() -> str:
    light, dark = ("".join(f"--{name}:{both[i]};" for name, both in PALETTE.items()) for i in (0, 1))
    return "".join(
        [
            f":root {{ color-scheme: light dark; {light} }}\n",
            f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}",
            _STYLE,
            *(f".s{i} {{ fill:var(--s{i}); color:var(--s{i}); }}\n" for i in range(N_SPLIT_COLORS)),
            *(f".e{i} {{ color:var(--e{i}); }}\n" for i in range(N_EXPERT_COLORS)),
            *(
                f".region.e{i}, svg text.number.e{i} {{ fill:var(--e{i}); }}\n"
                for i in range(N_EXPERT_COLORS)
            ),
            *(f".region.e{i}, .expertbox.e{i} {{ stroke:var(--e{i}); }}\n" for i in range(N_EXPERT_COLORS)),
        ]
    )


def page(title: str, body: str) -> str:
    """A whole document; `body` is HTML already, the title is escaped here."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'unsafe-inline'; img-src data:\">\n"
        f"<title>{html.escape(title)}</title>\n<style>{_style()}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def text(words: object) -> str:
    """Words as HTML: whatever comes from files may look like markup."""
    return html.escape(str(words))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table; cells are HTML already, columns in `numbers` are set to the right."""
    right = [' class="n"' if i in numbers else "" for i in range(max(len(head), *(len(r) for r in rows), 1))]
    lines = [f"<th{kind}>{text(cell)}</th>" for kind, cell in zip(right, head, strict=False)]
    shown = [f"<thead><tr>{''.join(lines)}</tr></thead>"] if head else []
    for row in rows:
        cells = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(right, row, strict=False))
        shown.append(f"<tr>{cells}</tr>")
    return f'<div class="scroll"><table>{"".join(shown)}</table></div>'


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """A table of names and what they are; values are HTML already."""
    cells = "".join(f"<tr><th>{text(name)}</th><td>{value}</td></tr>" for name, value in rows)
    return f'<div class="scroll"><table>{cells}</table></div>'
