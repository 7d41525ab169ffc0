//! HTML of a page (`audit`, `policy diff --html`): one file that needs nothing else, no network and
//! no script.
//!
//! Every text goes through [`text`], whoever it is of, so there is no place where one could be
//! forgotten. The page is well-formed XML as well: a reader of that tells in the tests what is
//! shown.

use std::fmt::Write;

/// Text as a page can hold it: on one line, bounded, without characters that hide or turn text
/// around, and nothing in it ends an element or an attribute.
pub(crate) fn text(what: impl std::fmt::Display) -> String {
    let mut out = String::new();
    for c in casemate_foreign_text::value(what).at_most(4096).to_string().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A page that grows.
#[derive(Debug, Default)]
pub(crate) struct Page {
    sections: Vec<(String, String)>,
    body: String,
}

impl Page {
    /// Begins a section, which the navigation leads to.
    pub(crate) fn section(&mut self, title: &str, lead: &str) {
        self.close();
        let id = format!("s{}", self.sections.len() + 1);
        let (shown, lead) = (text(title), text(lead));
        self.put(format_args!("<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{shown}</h2>\n"));
        if !lead.is_empty() {
            self.put(format_args!("<p>{lead}</p>\n"));
        }
        self.sections.push((id, shown));
    }

    fn close(&mut self) {
        if !self.sections.is_empty() {
            self.body.push_str("</section>\n");
        }
    }

    fn put(&mut self, html: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.body.write_fmt(html);
    }

    /// A part of a section that can be folded; what `fill` puts in is in it.
    pub(crate) fn part(&mut self, title: &str, open: bool, fill: impl FnOnce(&mut Self)) {
        let open = if open { " open=\"open\"" } else { "" };
        self.put(format_args!("<details{open}><summary>{}</summary>\n", text(title)));
        fill(self);
        self.body.push_str("</details>\n");
    }

    /// A paragraph.
    pub(crate) fn line(&mut self, what: &str) {
        self.put(format_args!("<p>{}</p>\n", text(what)));
    }

    /// A table. A cell whose text is one of [`state`]'s words is marked as what it says; the word
    /// stays, since colour alone tells nothing to who does not see it.
    pub(crate) fn table(&mut self, caption: &str, head: &[&str], rows: &[Vec<String>]) {
        self.put(format_args!(
            "<div class=\"wide\"><table><caption>{}</caption><thead><tr>",
            text(caption)
        ));
        for name in head {
            self.put(format_args!("<th scope=\"col\">{}</th>", text(name)));
        }
        self.body.push_str("</tr></thead><tbody>\n");
        for row in rows {
            self.body.push_str("<tr>");
            for cell in row {
                let class = state(cell).map_or_else(String::new, |it| format!(" class=\"{it}\""));
                self.put(format_args!("<td{class}>{}</td>", text(cell)));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody></table></div>\n");
    }

    /// The whole page.
    pub(crate) fn finish(mut self, title: &str, made: &str) -> String {
        self.close();
        let (title, made) = (text(title), text(made));
        let links: String = self
            .sections
            .iter()
            .map(|(id, name)| format!("<li><a href=\"#{id}\">{name}</a></li>"))
            .collect();
        // The policy forbids whatever a text might ask for that got past the escapes: no script, no
        // request, and styles only those with this page's own sheet.
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" />\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\" />\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n\
             <meta name=\"color-scheme\" content=\"light dark\" />\n\
             <title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n\
             <a class=\"skip\" href=\"#main\">To the content</a>\n\
             <header><h1>{title}</h1><p>{made}</p></header>\n\
             <nav aria-label=\"Sections\"><ol>{links}</ol></nav>\n\
             <main id=\"main\">\n{}</main>\n</body></html>\n",
            self.body
        )
    }
}

/// How a cell is marked, by its word.
fn state(word: &str) -> Option<&'static str> {
    match word {
        "allow" | "admitted" | "passed" | "locked" | "required" | "yes" => Some("good"),
        "deny" | "DENIED" | "FAILED" | "NO" | "WITHOUT" => Some("bad"),
        "optional" | "WARNING" | "not checked" | "unknown (needs root)" => Some("open"),
        _ => None,
    }
}

/// Without `<`, `&` and the like, so that it is XML too. Contrast is at least 4.5 to 1 in both
/// schemes (WCAG 2.2, 1.4.3). On a narrow screen the cells of a row stand below each other: beside
/// each other a digest would have four characters to a line.
const STYLE: &str = "\
:root{--ink:#1b1f24;--paper:#fff;--soft:#f2f4f7;--line:#c9d0d9;--link:#0b57a4;--good:#0f6b35;--bad:#a3161f;--open:#7a5200}\
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--paper:#14171c;--soft:#1e232b;--line:#3b4450;--link:#8ec2ff;--good:#7fd99f;--bad:#ff9a9a;--open:#f0c56a}}\
*{box-sizing:border-box}\
body{margin:0 auto;max-width:76rem;padding:1.5rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}\
h1{font-size:1.6rem;margin:0}h2{font-size:1.25rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}\
header p{margin:.25rem 0 1rem}a{color:var(--link)}\
nav ol{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;list-style:none;padding:.75rem 1rem;margin:0;background:var(--soft);border-radius:.4rem}\
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem;background:var(--paper);padding:.5rem}\
:focus-visible{outline:3px solid var(--link);outline-offset:2px}\
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:0 .75rem}\
details details{margin:.5rem 0}summary{cursor:pointer;font-weight:600;padding:.5rem 0}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem;font-size:.9rem}\
caption{text-align:left;font-weight:600;padding:.25rem 0}\
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid var(--line);overflow-wrap:anywhere}\
th{background:var(--soft);white-space:nowrap}tbody td:first-child{font-family:ui-monospace,monospace;min-width:11rem;width:1%}\
.good,.bad,.open{white-space:nowrap}p{overflow-wrap:anywhere}.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:700}.open{color:var(--open)}\
@media (min-width:60rem){tbody td:first-child{min-width:15rem}}\
@media screen and (max-width:45rem){thead{position:absolute;left:-99rem}tbody tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--line)}\
tbody td,tbody td:first-child{display:block;border:0;padding:.1rem .6rem;width:auto;min-width:0;white-space:normal}td:empty{display:none}}\
@media print{:root{--ink:#000;--paper:#fff;--soft:#eee;--line:#888;--link:#000;--good:#000;--bad:#000;--open:#000}\
body{max-width:none;font-size:10pt;padding:0}nav,.skip{display:none}\
details::details-content{content-visibility:visible;height:auto}details{break-inside:auto;border:0;padding:0}tr{break-inside:avoid}}";

#[cfg(test)]
mod tests {
    use super::{Page, text};

    /// Protects an auditor from what they audit: a name on the page stays a name.
    #[test]
    fn foreign_text_makes_no_element_and_leaves_no_attribute() {
        let hostile = "</td><script>alert(1)</script>\"' onload=x &amp; \u{202e}\u{1b}[31m\n\u{0}";
        let shown = text(hostile);
        for bad in ['<', '>', '"', '\'', '\u{202e}', '\u{1b}', '\n', '\u{0}'] {
            assert!(!shown.contains(bad), "{bad:?} in {shown}");
        }
        let mut page = Page::default();
        page.section(hostile, hostile);
        page.part(hostile, true, |page| {
            page.table(hostile, &[hostile], &[vec![hostile.into()]]);
        });
        let whole = page.finish(hostile, hostile);
        assert!(!whole.contains("<script") && whole.matches("<table>").count() == 1, "{whole}");
    }
}
