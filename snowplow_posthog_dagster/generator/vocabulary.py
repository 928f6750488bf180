"""The words that events are made of. Places are real, so that maps and time zones agree; companies are not."""

from typing import NamedTuple


class Place(NamedTuple):
    """Where a visitor is, as the IP lookup of Enrich would say it."""

    country: str
    region: str
    city: str
    zipcode: str
    latitude: str
    longitude: str
    region_name: str
    timezone: str
    language: str


PLACES = (
    Place("US", "NY", "New York", "10013", "40.7185", "-74.0025", "New York", "America/New_York", "en-US"),
    Place("US", "CA", "San Francisco", "94107", "37.7697", "-122.3933", "California", "America/Los_Angeles", "en-US"),
    Place("US", "TX", "Austin", "78701", "30.2713", "-97.7426", "Texas", "America/Chicago", "en-US"),
    Place("US", "WA", "Seattle", "98101", "47.6109", "-122.3303", "Washington", "America/Los_Angeles", "en-US"),
    Place("US", "IL", "Chicago", "60602", "41.8835", "-87.6305", "Illinois", "America/Chicago", "en-US"),
    Place("CA", "ON", "Toronto", "M5A", "43.6555", "-79.3626", "Ontario", "America/Toronto", "en-CA"),
    Place("CA", "QC", "Montréal", "H3A", "45.5040", "-73.5747", "Quebec", "America/Toronto", "fr-CA"),
    Place("MX", "CMX", "Mexico City", "06000", "19.4371", "-99.1328", "Mexico City", "America/Mexico_City", "es-MX"),
    Place("BR", "SP", "São Paulo", "01000", "-23.5335", "-46.6359", "Sao Paulo", "America/Sao_Paulo", "pt-BR"),
    Place("AR", "C", "Buenos Aires", "C1871", "-34.6142", "-58.3811", "Buenos Aires F.D.",
          "America/Argentina/Buenos_Aires", "es-AR"),
    Place("GB", "ENG", "London", "EC4R", "51.5095", "-0.0955", "England", "Europe/London", "en-GB"),
    Place("IE", "L", "Dublin", "D02", "53.3379", "-6.2591", "Leinster", "Europe/Dublin", "en-IE"),
    Place("FR", "IDF", "Paris", "75001", "48.8566", "2.3522", "Île-de-France", "Europe/Paris", "fr-FR"),
    Place("DE", "BE", "Berlin", "10117", "52.5170", "13.3889", "Land Berlin", "Europe/Berlin", "de-DE"),
    Place("DE", "BY", "München", "80331", "48.1374", "11.5755", "Bavaria", "Europe/Berlin", "de-DE"),
    Place("NL", "NH", "Amsterdam", "1012", "52.3740", "4.8897", "North Holland", "Europe/Amsterdam", "nl-NL"),
    Place("ES", "MD", "Madrid", "28013", "40.4163", "-3.6934", "Madrid", "Europe/Madrid", "es-ES"),
    Place("IT", "25", "Milano", "20121", "45.4722", "9.1922", "Lombardy", "Europe/Rome", "it-IT"),
    Place("SE", "AB", "Stockholm", "111 29", "59.3293", "18.0686", "Stockholm", "Europe/Stockholm", "sv-SE"),
    Place("PL", "14", "Warszawa", "00-001", "52.2299", "21.0093", "Mazovia", "Europe/Warsaw", "pl-PL"),
    Place("TR", "34", "Istanbul", "34096", "41.0214", "28.9684", "Istanbul", "Europe/Istanbul", "tr-TR"),
    Place("IN", "KA", "Bengaluru", "560002", "12.9634", "77.5855", "Karnataka", "Asia/Kolkata", "en-IN"),
    Place("IN", "MH", "Mumbai", "400070", "19.0748", "72.8856", "Maharashtra", "Asia/Kolkata", "hi-IN"),
    Place("SG", "", "Singapore", "18", "1.2868", "103.8503", "", "Asia/Singapore", "en-SG"),
    Place("JP", "13", "Tokyo", "102-0082", "35.6893", "139.6899", "Tokyo", "Asia/Tokyo", "ja-JP"),
    Place("KR", "11", "Seoul", "04524", "37.5660", "126.9784", "Seoul", "Asia/Seoul", "ko-KR"),
    Place("CN", "BJ", "Beijing", "", "39.9110", "116.3950", "Beijing", "Asia/Shanghai", "zh-CN"),
    Place("AU", "NSW", "Sydney", "2000", "-33.8715", "151.2006", "New South Wales", "Australia/Sydney", "en-AU"),
    Place("NZ", "AUK", "Auckland", "1010", "-36.8506", "174.7679", "Auckland", "Pacific/Auckland", "en-NZ"),
    Place("ZA", "WC", "Cape Town", "8001", "-33.9258", "18.4232", "Western Cape", "Africa/Johannesburg", "en-ZA"),
)  # fmt: skip

PROVIDERS = (
    ("Example Telecom", "Example Telecom", "example-telecom.net", "Cable/DSL"),
    ("Northwind Mobile", "Northwind Mobile", "northwind.example", "Cellular"),
    ("Contoso Cloud", "Contoso Hosting", "contoso.example", "Corporate"),
    ("Fibre & Co", "Fibre & Co", "fibre.example", "Cable/DSL"),
)

# host, path, query, medium, source, search term: what Enrich's referer parser makes of the address
REFERRERS = (
    ("www.google.com", "/", "", "search", "Google", ""),
    ("www.google.de", "/", "", "search", "Google", ""),
    ("www.bing.com", "/search", "q=ci+pipelines", "search", "Bing", "ci pipelines"),
    ("duckduckgo.com", "/", "", "search", "DuckDuckGo", ""),
    ("t.co", "/Zk3xq0", "", "social", "Twitter", ""),
    ("www.linkedin.com", "/feed/", "", "social", "LinkedIn", ""),
    ("news.ycombinator.com", "/item", "id=31644921", "unknown", "", ""),
    ("blog.example.org", "/2022/05/releases/", "", "unknown", "", ""),
)

# medium, source, term, content, campaign, name of the click id parameter, network
CAMPAIGNS = (
    ("cpc", "google", "devops platform", "ad-17", "summer-launch", "gclid", "Google"),
    ("cpc", "bing", "git hosting", "ad-3", "brand-eu", "msclkid", "Microsoft"),
    ("paid_social", "facebook", "", "carousel", "retargeting", "fbclid", "Facebook"),
    ("email", "newsletter", "", "header", "2022-06-release", "", ""),
    ("social", "twitter", "", "", "community", "", ""),
)

TOPICS = (
    "Getting started", "Pipelines & jobs", "Merge requests", "Überblick und Preise", "Release notes", "製品カタログ",
    "Security dashboard", "Café ☕ — menu", "Billing", "Runners", "Issue boards", 'The "fast" lane',
    "Container registry", "Деплой за 5 минут", "Wiki", "Analytics", "Guía de inicio", "Snippets", "Sign in",
    "C:\\temp and other paths",
)  # fmt: skip
SECTIONS = ("docs", "blog", "product", "pricing", "explore", "help", "solutions", "shop", "support", "about")

# Rails controllers and their verbs as a backend tracker reports them
BACKEND = (
    ("projects:issues:show", "click_link"), ("projects:merge_requests:show", "view_diff"),
    ("EventCreateService", "action_active_users_project_repo"), ("Notes::CreateService", "create_issue_comment"),
    ("projects:pipelines:index", "run_pipeline"), ("groups:boards:show", "drag_card"),
    ("registrations:welcome", "successfully_submitted_form"), ("ProjectsController", "create_project"),
    ("Ci::CreatePipelineService", "create_pipeline"), ("MergeRequests::UpdateService", "i_code_review_edit_mr_title"),
    ("search:show", "navbar_searched"), ("code_suggestions", "suggestion_accepted"),
)  # fmt: skip
EXPERIMENTS = ("new_nav", "trial_signup_v2", "ide_hint", "pricing_table")

ELEMENTS = ("nav-home", "cta-primary", "footer-legal", "sidebar-toggle", "card-more", "tab-settings", "download-linux")
PRODUCTS = (
    "Mug",
    "T-Shirt",
    "Hoodie",
    "Sticker set",
    "Keyboard",
    "Notebook",
    "Socken",
    "Plüschtier",
    "ポスター",
    "Cap",
)
SCREENS = ("Home", "Search", "Product detail", "Cart", "Profile", "Settings", "Inbox", "Einkaufsliste")
CURRENCIES = ("EUR", "USD", "GBP", "JPY")
