"""The style sheet of a report: light and dark, narrow screens, print. No font and no image from anywhere."""

STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--soft:#586069;--rule:#d9dee3;--card:#f5f7f9;
--gain:#0b5cad;--loss:#a8480a;--a:#0b5cad;--b:#a8480a;--plain:#7d8a97}
@media (prefers-color-scheme:dark){:root{--back:#14181d;--text:#e3e8ed;--soft:#a3aeb9;--rule:#333b44;--card:#1c2229;
--gain:#7ab8f5;--loss:#f2a56b;--a:#7ab8f5;--b:#f2a56b;--plain:#8793a0}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:66rem;background:var(--back);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums}
h1{font-size:1.4rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .6rem;border-bottom:1px solid var(--rule)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}p{margin:.4rem 0}nav{font-size:.9rem}nav a{margin-right:.8rem}a{color:var(--a)}
.verdict{background:var(--card);border-left:6px solid var(--b);padding:.2rem 1rem .6rem;margin:1rem 0}
.verdict h2{margin:.6rem 0 .2rem;border:0}.verdict p{font-size:1.1rem}
.said-beats_random,.said-promising_but_short{border-color:var(--a)}
.banner{background:var(--b);color:var(--back);padding:.4rem 1rem;font-weight:700}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(19rem,100%),1fr));gap:.1rem 1.5rem;margin:0}
dl div{display:flex;gap:.6rem;padding:.2rem 0;border-bottom:1px solid var(--rule);min-width:0}
dl .long{grid-column:1/-1}dt{color:var(--soft);flex:0 0 7.5rem}dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;margin:.6rem 0}
caption{text-align:left;color:var(--soft);padding:.3rem 0}
th,td{padding:.22rem .6rem;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top}
th:first-child{text-align:left}thead th{color:var(--soft);font-weight:600}tbody th{font-weight:400}
.told td:last-child,.told th:last-child,.words td,.words th{text-align:left}.note{white-space:normal;color:var(--soft)}
.dense th,.dense td{padding:.1rem .4rem;font-size:.82rem;white-space:nowrap}
.gain{color:var(--gain)}.loss{color:var(--loss)}.absent{color:var(--soft)}
figure{margin:1rem 0}figcaption{color:var(--soft);margin-bottom:.2rem}figcaption strong{color:var(--text)}
svg{display:block;width:100%;height:auto}svg text{font-size:11px;fill:var(--soft)}
svg path{fill:none}.rule{stroke:var(--rule)}.zero{stroke:var(--soft)}
.line-a{stroke:var(--a);stroke-width:1.6}.line-b{stroke:var(--b);stroke-width:1.6}
.line-c{stroke:var(--b);stroke-width:1.6;stroke-dasharray:5 3}
svg .line-a-area{fill:var(--a);opacity:.16}svg .line-b-area{fill:var(--b);opacity:.16}
svg .bar-gain{fill:var(--gain)}svg .bar-loss{fill:var(--loss)}svg .bar-plain{fill:var(--plain)}
.mark{stroke:var(--text);stroke-width:2}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--a)}footer{margin-top:2rem;color:var(--soft);font-size:.9rem}
@media (max-width:34rem){body{padding:.6rem;font-size:14px}dt{flex-basis:6rem}}
@media print{:root{color-scheme:light;--back:#fff;--text:#000;--soft:#444;--rule:#bbb;--card:#f4f4f4;--gain:#0b5cad;
--loss:#a8480a;--a:#0b5cad;--b:#a8480a;--plain:#7d8a97}body{max-width:none;font-size:10pt}nav{display:none}
figure,tr,.verdict{break-inside:avoid}h2,h3{break-after:avoid}thead{display:table-header-group}}
"""
