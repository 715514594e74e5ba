//! The words from which demo records are made.

pub const COMPANY_NAMES: [&str; 16] = [
    "Harbor",
    "Northwind",
    "Cedar",
    "Lantern",
    "Granite",
    "Meridian",
    "Juniper",
    "Beacon",
    "Summit",
    "Willow",
    "Falcon",
    "Anchor",
    "Hanbit",
    "Saebom",
    "Copper",
    "Orchard",
];

pub const COMPANY_KINDS: [&str; 8] =
    ["Security", "Networks", "Systems", "Studio", "Partners", "Consulting", "Services", "Digital"];

pub const FIRST_NAMES: [&str; 24] = [
    "Olivia", "Adrian", "Emma", "Anton", "Vera", "Minsu", "Jiwoo", "Clara", "David", "Elena", "Felix", "Grace",
    "Henrik", "Ines", "Jonas", "Katrin", "Leo", "Mina", "Noah", "Paula", "Seojun", "Tessa", "Yuna", "Victor",
];

pub const LAST_NAMES: [&str; 24] = [
    "Adler", "Baker", "Castro", "Dietrich", "Evans", "Fischer", "Garcia", "Han", "Ivanova", "Jung", "Kim", "Lehmann",
    "Moreau", "Nowak", "Olsen", "Park", "Quinn", "Rossi", "Schmidt", "Tanaka", "Ueda", "Vogel", "Walker", "Yoon",
];

pub const VERBS: [&str; 16] = [
    "Write",
    "Review",
    "Update",
    "Prepare",
    "Send",
    "Test",
    "Check",
    "Plan",
    "Present",
    "Approve",
    "Archive",
    "Renew",
    "Fix",
    "Translate",
    "Order",
    "Discuss",
];

pub const OBJECTS: [&str; 32] = [
    "offer",
    "monthly report",
    "firewall rules",
    "backup plan",
    "incident report",
    "risk register",
    "invoice",
    "workshop",
    "access review",
    "penetration test",
    "patch schedule",
    "onboarding guide",
    "network diagram",
    "certificate",
    "mail gateway",
    "service catalogue",
    "audit answers",
    "data protection notice",
    "recovery exercise",
    "endpoint rollout",
    "password policy",
    "status page",
    "quarterly review",
    "training slides",
    "supplier list",
    "log retention",
    "alert thresholds",
    "handover notes",
    "release checklist",
    "phishing exercise",
    "cloud bill",
    "landing page",
];

pub const CLIENTS: [&str; 24] = [
    "the town library",
    "Blue Bakery",
    "Riverside Clinic",
    "Kowalski Logistics",
    "Hotel Bellevue",
    "Miller & Sons",
    "the design team",
    "Green Grocers",
    "Alpine Tours",
    "Sunrise School",
    "Baltic Shipping",
    "Atlas Insurance",
    "our own office",
    "Daehan Foods",
    "Mirae Dental",
    "Rosen Pharmacy",
    "Vista Cinemas",
    "Oak Street Law",
    "Nordic Bikes",
    "Parkside Brewery",
    "the finance team",
    "Lumen Energy",
    "Castle Museum",
    "Delta Farming",
];

pub const TITLES: [&str; 10] = [
    "보안 점검 보고서 작성",
    "주간 회의 자료 준비",
    "방화벽 정책 검토",
    "고객사 견적서 발송",
    "백업 복구 훈련 계획",
    "신규 직원 계정 생성",
    "취약점 조치 결과 확인",
    "월간 보고서 번역",
    "서버 이전 일정 협의",
    "계약 갱신 안내 메일 발송",
];

pub const TAGS: [&str; 12] = [
    "sales", "security", "report", "client", "internal", "urgent", "finance", "training", "network", "cloud", "보안",
    "보고",
];

pub const SERVICES: [&str; 14] = [
    "Managed SOC",
    "Penetration test, two days",
    "Backup as a service",
    "Help desk, ten seats",
    "Firewall management",
    "Incident response retainer",
    "Mail protection",
    "Security training",
    "Consulting day",
    "Vulnerability scan",
    "Endpoint protection",
    "관제 서비스",
    "취약점 진단",
    "보안 교육",
];

pub const PLACES: [&str; 6] =
    ["Room 1", "Room 2", "At the client's", "https://meet.example/weekly", "Kitchen", "3층 회의실"];

pub const REMARKS: [&str; 16] = [
    "The draft is in the shared folder.",
    "Please have a look before Friday.",
    "The client asked for one more day.",
    "Waiting for their answer.",
    "Done, the numbers are in.",
    "Can somebody check the second page?",
    "We talked about it on the phone; all is clear now.",
    "I moved it to next week.",
    "Looks good to me.",
    "The old version is still online.",
    "Two findings are open, the rest is fixed.",
    "They want it in Korean and in English.",
    "Let us decide in the weekly meeting.",
    "확인 부탁드립니다.",
    "고객사 회신을 기다리고 있습니다.",
    "수정본을 올렸습니다.",
];
