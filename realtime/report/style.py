"""The page's style sheet: dark on light, large enough for a projector."""

STYLE = """
:root { --ink: #1b1f24; --muted: #5f6b7a; --rule: #d9dee5; --soft: #f5f7f9; --accent: #0072b2; --alarm: #c8321f; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 18px/1.5 "Inter", "Segoe UI", "Helvetica Neue", Arial,
  "Liberation Sans", sans-serif; font-variant-numeric: tabular-nums; -webkit-font-smoothing: antialiased; }
main { max-width: 1160px; margin: 0 auto; padding: 40px 32px 80px; }
h1 { font-size: 40px; line-height: 1.15; margin: 0 0 8px; letter-spacing: -0.02em; overflow-wrap: anywhere; }
h2 { font-size: 28px; margin: 0 0 14px; letter-spacing: -0.01em; }
h3 { font-size: 20px; margin: 30px 0 8px; }
p { margin: 0 0 12px; }
header { padding-bottom: 8px; }
section { border-top: 1px solid var(--rule); padding-top: 30px; margin-top: 38px; }
.kicker { color: var(--accent); font-weight: 600; margin-bottom: 4px; }
.note { color: var(--muted); font-size: 16px; max-width: 62em; margin-top: 12px; }
.note strong { color: var(--ink); }
.warning { border-left: 5px solid var(--alarm); background: #fdf1ef; padding: 10px 16px; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 1px; padding: 1px; margin-top: 26px; }
.tile { box-shadow: 0 0 0 1px var(--rule); padding: 16px 16px 14px; display: flex; flex-direction: column; }
.tile b { font-size: 32px; line-height: 1.2; letter-spacing: -0.02em; white-space: nowrap; }
.tile b small { font-size: 18px; font-weight: 500; letter-spacing: 0; }
.tile span { font-size: 15px; line-height: 1.35; overflow-wrap: anywhere; }
.tile .more { color: var(--muted); }
.tile.alarm b { color: var(--alarm); }
@media (max-width: 1000px) { .tiles { grid-template-columns: repeat(3, minmax(0, 1fr)); } }
table { border-collapse: collapse; margin: 12px 0 16px; font-size: 17px; }
th, td { text-align: left; padding: 5px 22px 5px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--muted); font-weight: 500; font-size: 15px; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.columns { display: flex; flex-wrap: wrap; gap: 8px 72px; }
svg { display: block; width: 100%; height: auto; margin: 6px 0; }
svg text { font-family: inherit; font-variant-numeric: tabular-nums; }
.tick { font-size: 14px; } .small { font-size: 14px; } .axis { font-size: 15px; }
.label { font-size: 16px; font-weight: 600; }
.code { font-size: 14px; font-family: ui-monospace, "SF Mono", Consolas, "DejaVu Sans Mono", monospace; }
.halo { paint-order: stroke; stroke: #fff; stroke-width: 4px; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; font-size: 16px; color: var(--muted); }
.legend span { display: inline-flex; align-items: center; gap: 7px; }
.key { width: 26px; height: 14px; margin: 0; display: inline-block; } .key.mark { width: 16px; height: 16px; }
.gallery { display: grid; grid-template-columns: repeat(3, 1fr); gap: 22px; }
@media (max-width: 800px) { .gallery { grid-template-columns: 1fr; } }
figure { margin: 0; } figure svg { margin: 0 0 8px; border-radius: 3px; }
figcaption { font-size: 15px; line-height: 1.45; color: var(--muted); }
figcaption strong, figcaption b { color: var(--ink); }
figcaption code { font-size: 13px; overflow-wrap: anywhere; }
.bone, .edge { fill: none; stroke-width: 3.2; stroke-linecap: round; stroke-linejoin: round; }
.edge { stroke: #fff; stroke-width: 6.5; stroke-opacity: 0.75; }
.node { stroke: #fff; stroke-width: 1.4; }
.track, .scale { paint-order: stroke; stroke: #fff; stroke-width: 5px; stroke-linejoin: round; }
.track { font-size: 22px; font-weight: 700; }
.scale { font-size: 18px; font-weight: 600; fill: #1b1f24; }
.setup table { width: 100%; }
.facts { font-size: 15px; columns: 2; column-gap: 40px; overflow-wrap: anywhere; } .facts span { color: var(--muted); }
pre { background: var(--soft); padding: 12px 16px; margin: 8px 0; font-size: 15px; line-height: 1.5;
  white-space: pre-wrap; }
pre, code { font-family: ui-monospace, "SF Mono", Consolas, "DejaVu Sans Mono", monospace; }
details summary { cursor: pointer; color: var(--accent); font-size: 17px; margin: 10px 0; }
@media print { section { break-inside: avoid-page; } main { max-width: none; padding: 0; } }
"""
