variable "project" {
  description = "Project whose costs count."
  type        = string
}

variable "billing_account" {
  description = "Id of the billing account."
  type        = string
}

variable "monthly_amount" {
  description = "The budget, in whole units of the currency."
  type        = number
}

variable "currency" {
  description = "Currency of the billing account: USD, EUR, ..."
  type        = string
}

variable "label_key" {
  description = "Key of the label that what counts carries."
  type        = string
}

variable "label_value" {
  description = "Value of that label."
  type        = string
}

variable "notification_channels" {
  description = "Who is told, by the channels' full names: at most five; none: the billing account's administrators."
  type        = list(string)
}
