"""How a report's page looks: one style sheet, light and dark, from a phone to a wide screen."""

STYLE = """
:root{--ink:#18202b;--soft:#5a6675;--line:#e1e6ec;--paper:#fff;--ground:#f4f6f8;--accent:#0c7f75;--warn:#b8481a;
--quiet:#7d8894;--good:#1d7a43;--hit:12,127,117;--miss:217,98,43}
@media (prefers-color-scheme:dark){:root{--ink:#e5eaf0;--soft:#9aa6b3;--line:#2b333d;--paper:#161b22;--ground:#0e1217;
--accent:#35c2b3;--warn:#f0905e;--quiet:#8793a0;--good:#5cc98a;--hit:53,194,179;--miss:240,120,70}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 64px}
header,section{background:var(--paper);border:1px solid var(--line);border-radius:14px;padding:24px 28px;
margin:0 0 18px}
h1{font-size:30px;line-height:1.2;margin:0 0 14px;overflow-wrap:anywhere}
h1 small{font-size:18px;font-weight:500;color:var(--soft)}
h2{font-size:19px;margin:0 0 14px}
h3{font-size:14px;color:var(--soft);margin:18px 0 8px;font-weight:600}
h3:first-child{margin-top:0}
small,em,.note,.soft{color:var(--soft);font-size:13px;font-style:normal}
.note{margin:10px 0 0}
.eyebrow{margin:0 0 4px;color:var(--accent);font-size:13px;font-weight:600}
.verdict{font-size:18px;margin:0 0 20px;overflow-wrap:anywhere}
.badge{display:inline-block;padding:2px 11px;border-radius:99px;font-size:15px;margin-right:6px;color:var(--paper);
background:var(--quiet)}
.badge.promote{background:var(--good)}
.badge.keep{background:var(--warn)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px;margin-bottom:8px}
.cards div{background:var(--ground);border-radius:10px;padding:12px 16px;min-width:0}
.cards b{display:block;font-size:26px;line-height:1.2;font-variant-numeric:tabular-nums}
.cards span,.cards em{display:block;font-size:13px;overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse;font-size:14.5px;font-variant-numeric:tabular-nums}
th{font-size:12.5px;font-weight:600;color:var(--soft);text-align:left;padding:6px 12px 6px 0;vertical-align:bottom}
td{padding:8px 12px 8px 0;border-top:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
.checks td:first-child{width:52px}
.checks td:nth-child(2){width:25%}
.models td{vertical-align:middle;padding-top:0;padding-bottom:0;height:34px}
.models tr:last-child td{border-top:0}
.models td small,.classes td small{white-space:nowrap}
.models td:nth-child(1){width:17%}
.models td:nth-child(2){width:42%}
.models td:nth-child(3){padding-left:10px}
.models td:nth-child(3) b{margin-right:6px}
.classes td:nth-child(1){width:22%}
.classes td:nth-child(4),.classes td:nth-child(5),.classes td:nth-child(6){width:18%}
.next td:nth-child(1){width:44%}
.next td:nth-child(2){width:15%}
.next td:nth-child(1){padding-right:24px}
.made td:first-child{width:30%;color:var(--soft)}
code{font:13px/1.4 ui-monospace,"SF Mono",Menlo,Consolas,monospace;overflow-wrap:anywhere}
.state{display:inline-block;font-size:12.5px;font-weight:600;white-space:nowrap}
.pass{color:var(--good)}.fail,.warn{color:var(--warn)}.open,.none{color:var(--soft)}
span.accent,b.accent{color:var(--accent);font-weight:600}
svg{display:block;overflow:visible}
.plot{color:var(--accent)}.plot.quiet{color:var(--quiet)}.plot.warn{color:var(--warn)}
.plot line,.plot circle{stroke:currentColor}
.plot .tick,.curve .tick{stroke:var(--line);stroke-width:1}
.plot .track{stroke:var(--line);stroke-width:1}
.plot .span{stroke-width:6;stroke-linecap:round;opacity:.35}
.plot .dot{fill:currentColor;stroke:var(--paper);stroke-width:1.5}
.plot .mark{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:4 3;opacity:.65}
.num{font-size:12px;fill:var(--soft)}
.wide{overflow-x:auto}
.heat{width:auto;min-width:60%}
.heat td{text-align:center;vertical-align:middle;min-width:62px;padding:9px 8px;border-radius:6px;
border:2px solid var(--paper)}
.heat td small{display:block;font-size:11.5px;color:inherit;opacity:.75;line-height:1.2}
.heat tbody th{color:var(--ink);padding-right:14px;vertical-align:middle;white-space:nowrap}
.heat thead th{text-align:center;padding:0 4px 8px;max-width:110px;overflow-wrap:anywhere}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:28px}
.curve{position:relative;margin-left:46px}
.curve polyline{fill:none;stroke-width:2.2;vector-effect:non-scaling-stroke}
.curve .end{stroke-width:7;stroke-linecap:round;vector-effect:non-scaling-stroke}
.levels span{position:absolute;left:-46px;width:40px;text-align:right;transform:translateY(50%);font-size:12px;
color:var(--soft)}
.ends{display:flex;justify-content:space-between;margin:6px 0 0 46px;font-size:12px;color:var(--soft)}
.legend{font-size:13px;margin-bottom:10px}
.key{margin-right:16px}
.key i{display:inline-block;width:16px;height:0;border-top:3px solid currentColor;
margin-right:6px;vertical-align:middle}
.line0{stroke:var(--quiet);color:var(--quiet)}.line1{stroke:var(--accent);color:var(--accent)}
.line2{stroke:var(--warn);color:var(--warn)}.line3{stroke:var(--good);color:var(--good)}
details{margin-top:14px}summary{cursor:pointer;color:var(--accent);font-size:14px}
ul{margin:0;padding-left:20px}li{margin:0 0 6px;overflow-wrap:anywhere}
.errors{list-style:none;margin:0;padding:0}
.errors li{border-left:3px solid var(--warn);padding:2px 0 2px 14px;margin:0 0 16px}
.said{margin:0 0 4px;font-size:14.5px}
.text{margin:0 0 4px;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
.sign{font-style:normal;font-size:11.5px;color:var(--accent)}
@media (max-width:680px){
main{padding:12px 10px 40px}.cards{grid-template-columns:repeat(auto-fit,minmax(128px,1fr))}
header,section{padding:18px 16px;border-radius:12px}
h1{font-size:25px}.verdict{font-size:16.5px}
.stack thead{display:none}
.stack tr{display:block;border-top:1px solid var(--line);padding:10px 0}
.stack tbody tr:first-child{border-top:0}
.stack td,.stack td:nth-child(n){display:grid;grid-template-columns:minmax(84px,30%) 1fr;gap:4px 10px;border:0;
padding:2px 0;width:auto;height:auto;align-items:center}
.stack td::before{content:attr(data-name);color:var(--soft);font-size:12.5px}
.stack td:empty{display:none!important}
.stack td svg{grid-column:1/-1}
.checks td:first-child,.checks td[data-name=""]{display:block}
.models td:nth-child(2),.models td:nth-child(2)::before{display:block}
.models tr:last-child td:not(:nth-child(2)),.models tr:last-child td::before{display:none}
.classes td:first-child,.models td:first-child,.next td:first-child{display:block}
.classes td:first-child::before,.models td:first-child::before,.next td:first-child::before{display:none}
.heat td{min-width:54px}.heat tbody th{white-space:normal}
}
@media print{body{background:none}header,section{break-inside:avoid;border:0;padding:8px 0}}
"""
"""CSS without a url(): nothing is fetched."""
