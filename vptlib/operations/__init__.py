"""Which prompt answers today, who allowed it, and does it still hold?

artefact   one trained model as one file: tensors, card, canaries, the answers of its test
export     from a finished report to that file
predict    new images to answers
bank       one backbone in memory, shared by the prompts of many tasks
predictor  images of many tasks in one pass
ledger     who decided what, and when: entries are added, never changed
registry   versions of a prompt by name: registered, tested, promoted, rolled back
gates      what a version must show before it may be promoted
service    answers over HTTP
records    answers that were given, and what people said of them
watch      whether what is in production still does what it was accepted for; `status_page` shows it
features   what a model sees in an image, in few numbers, by which new images are compared with those of the test
"""
