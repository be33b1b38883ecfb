# The dashboard of monitoring/grafana for Cloud Monitoring: the same panels in the same places, for all instances and
# models.

locals {
  grafana = jsondecode(file("${local.monitoring}/grafana/dashboards/foreserve.json"))

  # The panels with their queries. Variables and names of recorded series are replaced by their values.
  panels = [
    for panel in local.grafana.panels : {
      title = panel.title
      place = panel.gridPos
      kind  = lookup({ timeseries = "xyChart", table = "timeSeriesTable" }, panel.type, "scorecard")
      queries = [
        for target in panel.targets : join("", [
          for part in regexall("${local.recorded_name}|\\$\\w+|(?s:.)", replace(
            replace(target.expr, "/\\b(foreserve_\\w+)\\{/", "$1{${local.own},"),
            "/\\b(foreserve_\\w+)([^\\w{]|$)/", "$1{${local.own}}$2",
          )) :
          lookup(merge(local.recorded, { "$__rate_interval" = "5m", "$instance" = ".*", "$model" = ".*" }), part, part)
        ])
      ]
    } if panel.type != "row"
  ]

  # A panel is a chart of its queries, a table, or shows the newest value of its only query. Cloud Monitoring has no series
  # ALERTS: the panel of firing alerts becomes a list of incidents.
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
        timeSeriesTable = { dataSets = [
          for query in panel.queries : { timeSeriesQuery = { prometheusQuery = query } }
        ] }
        scorecard    = { timeSeriesQuery = { prometheusQuery = panel.queries[0] } }
        incidentList = { policyNames = [for policy in google_monitoring_alert_policy.rules : policy.name] }
      } : name => value if name == "title" || name == (panel.title == "Alerts" ? "incidentList" : panel.kind) }
    }
  ]
}

resource "google_monitoring_dashboard" "foreserve" {
  project = local.project

  dashboard_json = jsonencode({
    displayName  = "${local.grafana.title}: ${google_cloud_run_v2_service.api.name}"
    mosaicLayout = { columns = 24, tiles = local.tiles }
  })
}
