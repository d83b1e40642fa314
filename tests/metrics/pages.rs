//! Awkward pages: right ones that are easily read wrong, and lines that are wrong.

use std::fmt::Write as _;

/// A page as it is served.
#[derive(Clone)]
pub struct Page {
    pub content_type: &'static str,
    pub body: String,
}

impl Page {
    pub fn text(body: String) -> Self {
        Self { content_type: "text/plain; version=0.0.4", body }
    }
}

/// Lines that no reader should make a value of.
pub const BROKEN: [&str; 13] = [
    "m",
    "m wtf",
    "m 1,5",
    "m 1 soon",
    "m 1 2 3",
    "m{a=\"b\"}",
    "m{a=\"b} 1",
    "m{a=b} 1",
    "m{a} 1",
    "m{=\"b\"} 1",
    "m{a=\"b\",a=\"c\"} 1",
    "m{a=\"b\"",
    "m} 1",
];

const TEXT: &str = r##"# HELP http_requests_total Requests, with a \\ and a \n in the help.
# TYPE http_requests_total counter
http_requests_total{path="/users/{id}",code="500"} 7
http_requests_total{code="200",path="a,b=c"} 8
http_requests_total{path="}",code="200"} 9
http_requests_total{path="say \"hi\", {x=\"y\"} 1",code="200"} 10
http_requests_total{path="C:\\dir\\n",code="200"} 11
http_requests_total{path="two\nlines",code="200"} 12
http_requests_total{path="\d+",code="200"} 13
http_requests_total{path="größe 日本 🙂",code="200"} 14
http_requests_total{path=" spaced  out ",code="200"} 15
http_requests_total{path="# EOF",code="200"} 16 1700000000000
http_requests_total { path = "blanks" , code = "200" , } 17
http_requests_total{path="",code="200"} 18
http_requests_total{path="no blank"}19
# TYPE job:errors:rate5m gauge
job:errors:rate5m{le="x"} 0.25
job:errors:rate5m 1e-300
# a comment that is none of # HELP or # TYPE

up_and_away 1 1700000000000
tabs	3	1700000000000
values{is="nan"} NaN
values{is="plus inf"} +Inf
values{is="inf"} Inf
values{is="minus inf"} -Inf
values{is="zero"} 0
values{is="minus zero"} -0
values{is="large"} 1.7976931348623157e+308
values{is="small"} 5e-324
values{is="exact"} 9007199254740993
values{is="exponent"} 4.059092E+06
# TYPE d histogram
d_bucket{h="a,b",le="0.1"} 1
d_bucket{le="1.0",h="a,b"} 2
d_bucket{h="a,b",le="+Inf"} 3
d_sum{h="a,b"} 4.5
d_count{h="a,b"} 3
# TYPE s summary
s{quantile="0.99"} NaN
s_sum 0
s_count 0
"##;

/// The text format: the lines above, and as many again put together from awkward pieces.
pub fn text() -> Page {
    const PIECES: [&str; 16] = [
        "a",
        "{",
        "}",
        ",",
        "=",
        "\\\"",
        "\\\\",
        "\\n",
        " ",
        "#",
        "ß",
        "🙂",
        "le=\\\"1\\\"",
        "} 5",
        "\\x",
        "'",
    ];
    let mut body = TEXT.to_owned();
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for id in 0..300 {
        let value: String = (0..next(9)).map(|_| PIECES[next(PIECES.len())]).collect();
        let other: String = (0..next(4)).map(|_| PIECES[next(PIECES.len())]).collect();
        let name = ["made_total", "made:rate", "made_bucket"][next(3)];
        writeln!(
            body,
            "{name}{{id=\"{id}\",x=\"{value}\",y_1=\"{other}\"}} {}.{}e{}",
            next(10),
            next(1000),
            next(40)
        )
        .unwrap();
    }
    // The last line has no end.
    body.push_str("last 1");
    Page::text(body)
}

/// The same trouble as `OpenMetrics`, with exemplars and what else is its own.
pub fn openmetrics() -> Page {
    let body = r##"# HELP http_requests Requests.
# TYPE http_requests counter
# UNIT http_requests requests
http_requests_total{path="/users/{id}",code="500"} 7 # {trace_id="a } b"} 1 1700000000.5
http_requests_created{path="/users/{id}",code="500"} 1.7e9
http_requests_total{path="# {a=\"b\"} 1",code="200"} 8.5 1700000000.123 # {} 2
http_requests_total{path="größe",code="200"} 9
# TYPE d histogram
d_bucket{le="0.1"} 1 # {trace_id="x"} 0.05
d_bucket{le="1.0"} 2 # {trace_id="y",span="z, = }"} 0.5 1700000000.1
d_bucket{le="+Inf"} 3
d_count 3
d_sum 4.5
d_created 1700000000.5
# TYPE job:errors:rate5m gauge
job:errors:rate5m NaN
job:errors:rate5m{a="b"} -Inf
# TYPE state stateset
state{state="on"} 1
state{state="off"} 0
# TYPE build info
build_info{version="1.0,\"rc\""} 1
# EOF
"##;
    Page {
        content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
        body: body.to_owned(),
    }
}
