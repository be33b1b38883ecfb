variable "project" {
  description = "Project in which the APIs are enabled."
  type        = string
}

variable "billing_budgets" {
  description = "Whether budgets are managed, too."
  type        = bool
}
