# The dashboard of monitoring/grafana for Cloud Monitoring: the same panels in the same places, for all instances and
# models.

locals {
  grafana = jsondecode(file("${local.monitoring}/grafana/dashboards/foreserve.json"))

  # The panels with their queries. Variables and names of recorded series are replaced by their values.
  panels = [
    for panel in local.grafana.panels : {
      title = panel.title
      place = panel.gridPos
      chart = panel.type == "timeseries"
      queries = [
        for target in panel.targets : join("", [
          for part in regexall("${local.recorded_name}|\\$\\w+|(?s:.)", target.expr) :
          lookup(merge(local.recorded, { "$__rate_interval" = "5m", "$instance" = ".*", "$model" = ".*" }), part, part)
        ])
      ]
    } if panel.type != "row"
  ]

  # A panel is a chart of its queries, or shows the newest value of its only query.
  tiles = [
    for panel in local.panels : {
      xPos   = panel.place.x
      yPos   = panel.place.y
      width  = panel.place.w
      height = panel.place.h
      widget = { for name, value in {
        title = panel.title
        xyChart = { dataSets = [
          for query in panel.queries : { plotType = "LINE", timeSeriesQuery = { prometheusQuery = query } }
        ] }
        scorecard = { timeSeriesQuery = { prometheusQuery = panel.queries[0] } }
      } : name => value if name == "title" || name == (panel.chart ? "xyChart" : "scorecard") }
    }
  ]
}

resource "google_monitoring_dashboard" "foreserve" {
  project = var.project

  dashboard_json = jsonencode({
    displayName  = local.grafana.title
    mosaicLayout = { columns = 24, tiles = local.tiles }
  })
}
