// A key in, what the page says in the chosen language out. The questionnaire's own words are never translated.
const WORDS = {
  notice: ["Research software. Not for diagnosis.", "研究软件。不得用于诊断。"],
  pages: ["Pages", "页面"],
  read: ["Read", "判读"],
  cases: ["Past cases", "历史病例"],
  reviews: ["Reviews", "审核统计"],
  reviewer: ["Reviewer", "审核人"],
  help: ["Keys and help", "快捷键与帮助"],
  files: ["Images", "图像"],
  queue: ["Images of this session", "本次图像"],
  drop: ["Drop or choose images (PNG, JPEG, TIFF, DICOM)", "拖入或选择图像（PNG、JPEG、TIFF、DICOM）"],
  about: ["About the next images", "关于接下来的图像"],
  group: ["Patient or study", "患者或检查"],
  spacing: ["mm a pixel", "每像素毫米数"],
  groupnote: ["If you fill it in: the patient is kept as a hash only.", "可选。患者信息仅以哈希值保存。"],
  picture: ["Picture; + and − zoom, arrows move it", "图像；+ 和 − 缩放，方向键移动"],
  empty: ["No image yet", "尚无图像"],
  tools: ["Picture tools", "图像工具"],
  zoomin: ["Zoom in", "放大"],
  zoomout: ["Zoom out", "缩小"],
  zoomfit: ["Fit", "适应窗口"],
  brightness: ["Brightness", "亮度"],
  contrast: ["Contrast", "对比度"],
  plain: ["Reset", "还原"],
  boxes: ["Marks", "标记"],
  answers: ["Answers", "回答"],
  rate: ["The answers as a whole", "总体评分"],
  stars: ["{n} of 5", "{n} 分（满分 5）"],
  rest: ["Accept the rest", "接受其余"],
  save: ["Save", "保存"],
  drafts: ["Draft of a report", "报告草稿"],
  draftnote: ["Preliminary, not for diagnosis: saved reviews stand, what was rejected is left out.", "初步草稿，不得用于诊断：以已保存的审核为准，被拒绝的回答不列入。"],
  draftname: ["Draft of a report: {n}", "报告草稿：{n}"],
  drafted: ["Downloaded: {n}", "已下载：{n}"],
  draftunsaved: ["Downloaded: {n}. What is not saved yet is not in it.", "已下载：{n}。尚未保存的内容不在其中。"],
  notdrafted: ["No draft: {r}", "无法生成草稿：{r}"],
  older: ["Older", "更早"],
  download: ["Download the corrected sheet", "下载修订后的答案表"],
  letters: ["Single-letter keys", "启用单键快捷键"],
  close: ["Close", "关闭"],
  token: ["Access token", "访问令牌"],
  tokennote: ["This server asks for a token. Whoever runs it can give you one.", "此服务器需要令牌，请向管理员索取。"],
  tokenwrong: ["The server does not know this token.", "服务器不认识该令牌。"],
  enter: ["Enter", "进入"],
  notsure: ["Not sure", "不确定"],
  noanswer: ["no answer in the questionnaire's words", "没有符合问卷用语的回答"],
  drawn: ["drawn on the picture", "已标在图像上"],
  nothing: ["none", "无"],
  "very sure": ["very sure", "非常确定"],
  sure: ["sure", "确定"],
  "rather sure": ["rather sure", "比较确定"],
  unsure: ["unsure", "不太确定"],
  guessing: ["guessing", "猜测"],
  wanted: ["sure from {n}", "{n} 起为确定"],
  others: ["Other answers", "其他可能"],
  accept: ["Accept", "接受"],
  edit: ["Edit", "修改"],
  reject: ["Reject", "拒绝"],
  why: ["Why", "依据"],
  likecases: ["Similar", "相似"],
  accepted: ["accepted", "已接受"],
  edited: ["edited", "已修改"],
  rejected: ["rejected", "已拒绝"],
  unsaved: ["not saved yet", "尚未保存"],
  apply: ["Use this answer", "使用此回答"],
  cancel: ["Cancel", "取消"],
  find: ["Find an answer", "查找选项"],
  weeks: ["weeks", "周"],
  days: ["days", "天"],
  freetext: ["Or in your own words", "或自行填写"],
  none: ["(nothing)", "（无）"],
  waiting: ["waiting", "等待中"],
  sending: ["uploading {n}%", "上传 {n}%"],
  reading: ["reading: {n} of {m} answers", "判读中：{n}/{m} 个回答"],
  ready: ["{n} answers", "{n} 个回答"],
  busy: ["The queue is full. Trying again in {n} s", "队列已满，{n} 秒后重试"],
  offline: ["The server cannot be reached. Trying again in {n} s", "无法连接服务器，{n} 秒后重试"],
  again: ["Try again", "重试"],
  lost: ["The server cannot be reached", "无法连接服务器"],
  whyload: ["Covering one place after another …", "正在逐处遮挡计算……"],
  whyline: [
    "Without the marked place the answer's likelihood falls from {a} to {b}; without other places of that size to {c}.",
    "去掉标记区域后，该回答的似然由 {a} 变为 {b}；去掉其他同样大小的区域则为 {c}。",
  ],
  whyrises: [
    "Without the marked place the answer's likelihood is {b} (before: {a}); without other places of that size {c}.",
    "去掉标记区域后，该回答的似然为 {b}（原为 {a}）；去掉其他同样大小的区域则为 {c}。",
  ],
  whynone: ["No single place of the picture speaks for this answer.", "图像中没有单一区域支持该回答。"],
  whynote: ["Yellow: where covering costs the answer most. Likelihood: of these exact words, not weighed against other answers.", "黄色：遮挡后对该回答影响最大的区域。似然指这段原文的概率，未与其他候选比较。"],
  weak: ["The marked place matters no more than others: do not trust this map.", "标记区域并不比其他区域更重要：请勿依赖此热图。"],
  toldcases: ["The model was told of these annotated cases: {c}.", "模型在提示中被告知以下已标注病例：{c}。"],
  toldcase: ["{c} ({a})", "{c}（{a}）"],
  toldjoint: ["; ", "；"],
  similar: ["Similar annotated cases", "相似的已标注病例"],
  similarload: ["Looking for similar cases …", "正在查找相似病例……"],
  likeness: ["likeness {n}", "相似度 {n}"],
  rest_of_it: ["Its other answers", "该病例的其他回答"],
  same: ["same answer", "回答相同"],
  differs: ["another answer", "回答不同"],
  unanswered: ["not annotated", "未标注"],
  savednow: ["Saved: {n} answers, rating {r}.", "已保存：{n} 个回答，评分 {r}。"],
  norating: ["none", "无"],
  nosave: ["Nothing to save: accept, edit, reject or rate first.", "没有可保存的内容：请先接受、修改、拒绝或评分。"],
  history: ["Saved before", "先前的审核"],
  by: ["{a}, {t}", "{a}，{t}"],
  rated: ["whole: {n} of 5", "总体：{n}/5"],
  mayread: ["You may look, but not review.", "您可以查看，但不能审核。"],
  dicom: ["DICOM, de-identified: {n} attributes removed", "DICOM，已去标识：移除 {n} 个属性"],
  masked: ["{n} burned-in texts masked", "遮盖了 {n} 处叠加文字"],
  frames: ["first frame of {n}", "共 {n} 帧，取首帧"],
  pixels: ["{w} × {h} pixels", "{w} × {h} 像素"],
  seconds: ["{n} s", "{n} 秒"],
  nocases: ["No case yet.", "尚无病例。"],
  noreviews: ["No review yet.", "尚无审核。"],
  sumcases: ["Cases reviewed", "已审核病例"],
  sumof: ["{n} of {m}", "{n}/{m}"],
  sumreviewers: ["Reviewers", "审核人数"],
  sumrating: ["Mean rating", "平均评分"],
  summodel: ["Model, seconds a case", "模型每例耗时（秒）"],
  sumreview: ["Review, seconds a case", "审核每例耗时（秒）"],
  median: ["median; 90% within {b}", "中位数；90% 不超过 {b}"],
  interval: ["95% interval {a} to {b}", "95% 区间 {a} 至 {b}"],
  verdicts: ["Accepted, edited, rejected", "接受、修改、拒绝"],
  agreement: ["Agreement between reviewers (kappa, 95% interval)", "审核人之间的一致性（kappa，95% 区间）"],
  agreenote: ["Reviewers saw the model's answer first: their agreement is not that of independent readers.", "审核人先看到模型的回答，因此这不是独立阅片者之间的一致性。"],
  ratings: ["Ratings", "评分分布"],
  drift: ["The model's answers by week", "模型回答按周变化"],
  driftline: ["last week against before: distance {d}, p = {p}", "上周与此前相比：距离 {d}，p = {p}"],
  driftone: ["one week only", "仅一周数据"],
  pairs: ["{n} pairs", "{n} 对"],
  "too few groups": ["too few patients for a sure interval", "患者太少，区间不可靠"],
  "all groups alike": ["all patients alike: the interval is too narrow", "各患者结果相同，区间偏窄"],
  "all say the same: kappa is not defined": ["all say the same: kappa is not defined", "全部一致：kappa 无法定义"],
  nopairs: ["no picture was reviewed by two", "没有图像被两人审核"],
  failed: ["Not saved: {r}", "未保存：{r}"],
  saying: ["{q}: {v}", "{q}：{v}"],
  retry: ["{r} Trying again in {n} s.", "{r}（{n} 秒后重试）"],
};

export const KEYS = [
  ["j  k", ["next, previous answer", "下一个、上一个回答"]],
  ["a  e  r", ["accept, edit, reject", "接受、修改、拒绝"]],
  ["n  p", ["next, previous image", "下一张、上一张图像"]],
  ["h", ["why: heat map and deletion test", "依据：热图与遮挡检验"]],
  ["s", ["similar annotated cases", "相似的已标注病例"]],
  ["b", ["marks on the picture", "图像上的标记"]],
  ["+  −  0", ["zoom in, out, fit", "放大、缩小、适应"]],
  ["← ↑ → ↓", ["move the picture (when it has the focus)", "移动图像（图像获得焦点时）"]],
  ["1 … 5", ["rate the whole", "总体评分"]],
  ["Ctrl + Enter", ["save", "保存"]],
  ["Esc", ["leave an edit", "退出修改"]],
  ["?", ["this help", "本帮助"]],
];

let language = localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");

export const chosen = () => language;

export function say(key, values = {}) {
  const text = WORDS[key]?.[language === "zh" ? 1 : 0] ?? key;
  return text.replace(/\{(\w)\}/g, (_, name) => values[name] ?? "");
}

// Return a time as this language writes it.
export function tellTime(time) {
  return new Date(time).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
}

export function pick(pair) {
  return pair[language === "zh" ? 1 : 0];
}

// Put the words of a language on everything that asks for them: data-say in its text, data-label in its name.
export function speak(wanted = language) {
  language = wanted;
  localStorage.setItem("language", language);
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const one of document.querySelectorAll("[data-say]")) one.textContent = say(one.dataset.say);
  for (const one of document.querySelectorAll("[data-label]")) {
    one.setAttribute("aria-label", say(one.dataset.label));
    if (one.tagName === "BUTTON") one.title = say(one.dataset.label);
  }
}
